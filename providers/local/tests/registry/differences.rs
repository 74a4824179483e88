//! Where Debian's docker-registry is known to do something else, and why that is no reason for us to.

use crate::{discovery, management, manifests, pull, push};

const NO_REFERRERS: &str =
    "there is no referrers API before 3.0: it is a 404 page, and OCI-Subject is not set";
const NO_CONTENT_RANGE: &str = "Content-Range is not looked at before 3.0: chunks are appended as they come";
const NO_PAGES: &str = "tags are listed in no order and all at once before 3.0: n and last are ignored";
const ONLY_SHA256: &str = "content is kept and answered by sha256, and no other algorithm is asked for";

/// Cases that docker-registry 2.8 does not pass, each with the reason. One that it passes does not belong here, and its
/// test says so.
pub(crate) const DIFFERENCES: &[(&str, &str)] = &[
    ("referrers_of_what_nobody_is_about_are_an_empty_index", NO_REFERRERS),
    ("referrers_are_listed_with_their_kind_and_annotations", NO_REFERRERS),
    ("a_referrer_without_a_kind_is_of_its_configurations", NO_REFERRERS),
    ("an_index_is_a_referrer_too", NO_REFERRERS),
    ("an_index_without_a_kind_is_listed_without_one", NO_REFERRERS),
    ("a_referrer_that_came_before_its_subject_is_listed", NO_REFERRERS),
    ("referrers_are_filtered_by_their_kind", NO_REFERRERS),
    ("referrers_belong_to_their_repository", NO_REFERRERS),
    ("a_referrer_that_is_deleted_is_not_listed", NO_REFERRERS),
    ("referrers_of_what_is_no_digest_are_a_bad_request", NO_REFERRERS),
    ("referrers_of_a_sha512_subject_are_listed", NO_REFERRERS),
    ("the_tag_of_the_fallback_is_a_tag", NO_REFERRERS),
    ("a_manifest_about_another_is_acknowledged", NO_REFERRERS),
    ("an_index_about_another_is_acknowledged", NO_REFERRERS),
    ("a_chunk_that_leaves_a_gap_is_refused", NO_CONTENT_RANGE),
    ("a_chunk_that_came_already_is_refused", NO_CONTENT_RANGE),
    ("a_first_chunk_begins_at_zero", NO_CONTENT_RANGE),
    ("a_last_chunk_out_of_order_is_refused", NO_CONTENT_RANGE),
    ("an_upload_goes_on_after_a_refused_chunk", NO_CONTENT_RANGE),
    ("tags_are_listed_in_order", NO_PAGES),
    ("as_many_tags_are_listed_as_are_asked_for", NO_PAGES),
    ("no_tags_are_listed_where_none_are_asked_for", NO_PAGES),
    ("tags_are_listed_behind_the_last_one_seen", NO_PAGES),
    ("tags_are_listed_behind_one_that_is_not_there", NO_PAGES),
    ("a_blob_is_pushed_by_sha512", ONLY_SHA256),
    ("an_upload_may_be_begun_for_an_algorithm", ONLY_SHA256),
    ("a_manifest_is_pushed_by_sha512", ONLY_SHA256),
    (
        "a_repository_without_tags_has_an_empty_list",
        "a repository whose only manifests have no tag is a 404 NAME_UNKNOWN",
    ),
    (
        "a_tag_is_deleted_and_its_manifest_stays",
        "a tag cannot be deleted, which is a 400 as the specification has it for what is disabled",
    ),
    ("a_manifest_by_digest_sets_several_tags", "the tag parameter is newer and is ignored"),
    ("a_manifest_by_a_digest_that_is_none_is_refused", "a digest of the wrong length is a 500"),
    ("a_digest_that_is_none_is_not_found_or_bad", "a digest of the wrong length is a 500"),
    ("a_manifest_that_is_too_large_is_refused_with_413", "it is refused with 400"),
    ("what_is_no_manifest_is_refused", "an object without the fields of a manifest is DIGEST_INVALID"),
    (
        "layers_that_are_elsewhere_by_design_need_not_be_there",
        "URLs of layers must be allowed in its configuration",
    ),
    (
        "a_manifest_of_any_kind_is_answered_whatever_is_accepted",
        "an index is a 404 where the request does not accept its kind",
    ),
    (
        "a_part_behind_the_end_is_not_satisfiable",
        "the 416 states the length of the blob as its own, so a client waits for a body that never comes",
    ),
    (
        "a_part_that_ends_before_it_begins_is_not_answered_in_part",
        "the 416 states the length of the blob as its own",
    ),
    ("an_error_is_a_document_with_a_code", "a name outside of the grammar is a 404 page and no document"),
    ("a_name_that_is_none_has_its_code", "a name outside of the grammar is a 404 page and no document"),
];

#[test]
fn every_difference_is_about_a_case() {
    let names = [pull::NAMES, push::NAMES, manifests::NAMES, discovery::NAMES, management::NAMES].concat();
    for (name, why) in DIFFERENCES {
        assert!(names.contains(name), "there is no case {name}");
        assert!(!why.is_empty());
    }
}
