//! One fact about the service a test.

use jiff::Timestamp;
use longshore_contract::{FunctionName, Intent, PublishDedup, Routing, Share, State, Version};
use longshore_model::{
    Changed, Code, Configuration, Create, Guard, Image, Outcome, Publish, Published, PutAlias, Service,
    Update,
};

fn at() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn name() -> FunctionName {
    "shop".parse().unwrap()
}

fn image(digit: char) -> Image {
    let digest = format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap();
    Image { location: "shop".to_owned(), digest }
}

fn intent(step: u32) -> Option<Intent> {
    Some(Intent { run: "01J8Z0B4Q5W6X7Y8Z9A0B1C2D3".parse().unwrap(), step })
}

fn version(number: u64) -> Version {
    number.to_string().parse().unwrap()
}

fn update(digit: char, step: u32) -> Update {
    Update {
        function: name(),
        image: Some(image(digit)),
        changes: Configuration::default(),
        intent: intent(step),
        revision: None,
    }
}

fn publish(step: u32, dedup: PublishDedup) -> Publish {
    Publish { function: name(), description: String::new(), intent: intent(step), dedup, revision: None }
}

fn put(routing: Routing, guard: Guard) -> PutAlias {
    PutAlias { function: name(), alias: "live".parse().unwrap(), routing, description: String::new(), guard }
}

fn settle(service: &mut Service, outcome: &Outcome) {
    let revision = service.function(&name()).unwrap().head.revision;
    service.settle_update(&name(), revision, outcome).unwrap();
}

/// A service with a function whose head is active.
fn created() -> Service {
    let mut service = Service::default();
    let create = Create {
        function: name(),
        image: image('1'),
        configuration: Configuration::default(),
        intent: intent(0),
    };
    service.create(create, at()).unwrap();
    settle(&mut service, &Outcome::Ok);
    service
}

/// A service with versions 1 to `count`, all active, each of its own image.
fn with_versions(count: u32) -> Service {
    let mut service = created();
    for step in 1..=count {
        let digit = char::from_digit(step, 10).unwrap();
        service.update(update(digit, step), at()).unwrap();
        settle(&mut service, &Outcome::Ok);
        let made = service.publish(publish(step, PublishDedup::ByIntent), at()).unwrap();
        service.settle_version(&name(), made.number(), &Outcome::Ok).unwrap();
    }
    service
}

#[test]
fn a_pending_update_can_neither_be_published_nor_overtaken() {
    let mut service = created();
    service.update(update('2', 1), at()).unwrap();
    assert_eq!(service.publish(publish(1, PublishDedup::ByIntent), at()).unwrap_err().code, Code::Busy);
    let refusal = service.update(update('3', 2), at()).unwrap_err();
    assert_eq!(refusal.code, Code::Busy);
    assert!(refusal.message.contains("01J8Z0B4Q5W6X7Y8Z9A0B1C2D3"), "it says who: {refusal}");
}

#[test]
fn a_repeated_update_changes_nothing() {
    let mut service = created();
    assert_eq!(service.update(update('2', 1), at()).unwrap(), Changed::Yes);
    assert_eq!(service.update(update('2', 1), at()).unwrap(), Changed::No);
    settle(&mut service, &Outcome::Ok);
    assert_eq!(service.update(update('2', 1), at()).unwrap(), Changed::No);
}

#[test]
fn a_failed_update_is_not_published_and_leaves_only_its_reason() {
    let mut service = created();
    let mut failing = update('2', 1);
    failing.changes = serde_json::from_str(r#"{"handler": "bad"}"#).unwrap();
    service.update(failing.clone(), at()).unwrap();
    settle(&mut service, &Outcome::Failed("exited with 1".to_owned()));
    let refusal = service.publish(publish(1, PublishDedup::ByIntent), at()).unwrap_err();
    assert_eq!(refusal.code, Code::Failed);
    assert!(refusal.message.contains("exited with 1"), "{refusal}");
    assert_eq!(service.update(failing, at()).unwrap(), Changed::Yes, "a failed update can be tried again");
    settle(&mut service, &Outcome::Failed("exited with 1".to_owned()));
    let mut next = update('3', 2);
    next.image = None;
    service.update(next, at()).unwrap();
    let head = &service.function(&name()).unwrap().head;
    assert_eq!(head.content.image, image('1'), "the next update begins from what was good");
    assert_eq!(head.content.configuration, Configuration::default());
}

#[test]
fn an_old_update_cannot_be_settled_in_the_place_of_a_newer_one() {
    let mut service = created();
    service.update(update('2', 1), at()).unwrap();
    let old = service.function(&name()).unwrap().head.revision;
    service.settle_update(&name(), old, &Outcome::Ok).unwrap();
    service.update(update('3', 2), at()).unwrap();
    assert_eq!(service.settle_update(&name(), old, &Outcome::Ok).unwrap_err().code, Code::PreconditionFailed);
}

#[test]
fn a_repeated_publish_is_one_version_even_after_the_head_moved_on() {
    let mut service = with_versions(1);
    service.update(update('2', 2), at()).unwrap();
    let again = service.publish(publish(1, PublishDedup::ByIntent), at()).unwrap();
    assert_eq!(again, Published::Existed(1));
}

#[test]
fn publishing_without_a_change_is_as_the_cloud_does_it() {
    let mut service = with_versions(1);
    let by_content = service.publish(publish(7, PublishDedup::ByContent), at()).unwrap();
    assert_eq!(by_content, Published::Existed(1));
    let by_intent = service.publish(publish(8, PublishDedup::ByIntent), at()).unwrap();
    assert_eq!(by_intent, Published::Made(2));
}

#[test]
fn numbers_never_come_back() {
    let mut service = with_versions(2);
    service.delete_version(&name(), 2).unwrap();
    assert_eq!(service.publish(publish(9, PublishDedup::ByIntent), at()).unwrap(), Published::Made(3));
    service.delete_function(&name()).unwrap();
    let create =
        Create { function: name(), image: image('1'), configuration: Configuration::default(), intent: None };
    service.create(create, at()).unwrap();
    settle(&mut service, &Outcome::Ok);
    assert_eq!(service.publish(publish(10, PublishDedup::ByIntent), at()).unwrap(), Published::Made(4));
}

#[test]
fn an_alias_is_guarded() {
    let mut service = with_versions(2);
    let first = service.put_alias(put(Routing::All(version(1)), Guard::Absent), at()).unwrap().revision;
    let code = |result: Result<_, longshore_model::Refusal>| result.map(drop).unwrap_err().code;
    let to = |number| Routing::All(version(number));
    assert_eq!(code(service.put_alias(put(to(2), Guard::Absent), at()).cloned()), Code::ResourceConflict);
    let second = service.put_alias(put(to(2), Guard::Revision(first)), at()).unwrap().revision;
    assert_eq!(
        code(service.put_alias(put(to(1), Guard::Revision(first)), at()).cloned()),
        Code::PreconditionFailed
    );
    service.put_alias(put(to(1), Guard::Present), at()).unwrap();
    service.delete_alias(&name(), &"live".parse().unwrap(), None).unwrap();
    assert_eq!(
        code(service.put_alias(put(to(1), Guard::Revision(second)), at()).cloned()),
        Code::PreconditionFailed
    );
    assert_eq!(code(service.put_alias(put(to(1), Guard::Present), at()).cloned()), Code::NotFound);
}

#[test]
fn an_alias_names_only_versions_that_serve() {
    let mut service = with_versions(1);
    let pending = service.publish(publish(5, PublishDedup::ByIntent), at()).unwrap().number();
    let mut code = |routing| service.put_alias(put(routing, Guard::Absent), at()).map(drop).unwrap_err().code;
    assert_eq!(code(Routing::All(version(pending))), Code::Busy);
    assert_eq!(code(Routing::All(version(9))), Code::NotFound);
    assert_eq!(code(Routing::All("01".parse().unwrap())), Code::NotFound);
    let split = |share| Routing::Split {
        stable: version(1),
        canary: version(1),
        share: Share::basis_points(share).unwrap(),
    };
    assert_eq!(code(split(5)), Code::InvalidParameter);
    service.settle_version(&name(), pending, &Outcome::Failed("no".to_owned())).unwrap();
    let refusal = service.put_alias(put(Routing::All(version(pending)), Guard::Absent), at()).unwrap_err();
    assert_eq!(refusal.code, Code::Failed);
}

#[test]
fn a_version_under_an_alias_is_not_deleted() {
    let mut service = with_versions(2);
    let share = Share::basis_points(100).unwrap();
    let split = Routing::split(version(1), version(2), share);
    service.put_alias(put(split, Guard::Absent), at()).unwrap();
    for number in [1, 2] {
        assert_eq!(service.delete_version(&name(), number).unwrap_err().code, Code::InUse);
    }
    assert_eq!(service.delete_function(&name()).unwrap_err().code, Code::InUse);
}

#[test]
fn a_description_has_an_end() {
    let mut service = with_versions(1);
    let mut long = put(Routing::All(version(1)), Guard::Absent);
    long.description = "é".repeat(128);
    service.put_alias(long.clone(), at()).unwrap();
    long.description.push('x');
    long.guard = Guard::Present;
    assert_eq!(service.put_alias(long, at()).unwrap_err().code, Code::InvalidParameter);
}

#[test]
fn versions_come_newest_first_in_pages() {
    let service = with_versions(5);
    let page = |before, limit| {
        let versions = service.versions(&name(), before, limit).unwrap();
        versions.into_iter().map(|(number, _)| number).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2), [5, 4]);
    assert_eq!(page(Some(4), 2), [3, 2]);
    assert_eq!(page(Some(2), 2), [1]);
    assert!(page(Some(1), 2).is_empty());
}

#[test]
fn a_head_goes_by_the_number_it_has_or_will_have() {
    let mut service = with_versions(1);
    assert_eq!(service.function(&name()).unwrap().head_number(), 1);
    service.update(update('2', 2), at()).unwrap();
    assert_eq!(service.function(&name()).unwrap().head_number(), 2);
    assert_eq!(service.function(&name()).unwrap().head.state, State::Pending);
}
