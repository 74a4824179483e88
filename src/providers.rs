//! Every cloud this program was built with: the one place in `src/` that may name one.

use std::sync::LazyLock;

use longshore_contract::{Compression, Format, Profile, Registration, Taken};

use crate::registry::{KnownRegistry, PLAIN};

/// The clouds, in the order they are listed to people.
pub fn registrations() -> &'static [Registration] {
    static REGISTRATIONS: LazyLock<Vec<Registration>> = LazyLock::new(|| {
        vec![
            #[cfg(feature = "local")]
            longshore_local::registration(),
        ]
    });
    &REGISTRATIONS
}

/// The cloud that is called `name`.
pub fn find(name: &str) -> Option<&'static Registration> {
    registrations().iter().find(|registration| registration.name == name)
}

/// The hosts of Amazon ECR; its public registry is none that Lambda pulls from.
const ECR: &[&str] = &[
    "*.dkr.ecr.*.amazonaws.com",
    "*.dkr.ecr.*.amazonaws.com.cn",
    "*.dkr.ecr-fips.*.amazonaws.com",
    "*.dkr-ecr.*.on.aws",
];

/// The hosts of Tencent's registries, of both editions.
const TCR: &[&str] = &["*.tencentcloudcr.com", "ccr.ccs.tencentyun.com", "*ccr.ccs.tencentyun.com"];

/// Every shape an image can be asked for, in the order they are listed to people.
pub fn profiles() -> &'static [Profile] {
    const PROFILES: &[Profile] = &[LAMBDA, SCF, FC, Profile::OCI, Profile::DOCKER];
    PROFILES
}

/// The shape that images for the registry `host` get when nobody says otherwise.
pub fn profile_of(host: &str) -> &'static Profile {
    profiles().iter().find(|profile| profile.claims(host)).unwrap_or(&Profile::OCI)
}

/// AWS Lambda takes one manifest of one platform, in either format; an index, also one of one image and its attestation, is
/// refused after the push. Layers compressed with zstd and foreign ones are refused too. Plain ones are documented; they are
/// compressed because they are sent.
const LAMBDA: Profile = Profile {
    name: "lambda",
    summary: "AWS Lambda, from ECR",
    indexes: Taken::No,
    others: Taken::No,
    formats: &[Format::Docker, Format::Oci],
    layers: &[Compression::Gzip],
    platforms: &["linux/amd64", "linux/arm64"],
    hosts: ECR,
};

/// Tencent Cloud SCF documents Docker's manifests and OCI's; whether it takes an index is not known, so it gets none.
const SCF: Profile = Profile {
    name: "scf",
    summary: "Tencent Cloud SCF, from TCR",
    indexes: Taken::No,
    others: Taken::No,
    formats: &[Format::Docker, Format::Oci],
    layers: &[Compression::Gzip],
    platforms: &["linux/amd64"],
    hosts: TCR,
};

/// Alibaba Cloud FC publishes no list: its registry refuses empty descriptors, its functions an index with an attestation. A
/// Docker manifest is what it is known to take from every edition of its registry.
const FC: Profile = Profile {
    name: "fc",
    summary: "Alibaba Cloud FC 3.0, from ACR",
    indexes: Taken::No,
    others: Taken::No,
    formats: &[Format::Docker],
    layers: &[Compression::Gzip],
    platforms: &["linux/amd64"],
    hosts: &[
        "registry.*.aliyuncs.com",
        "registry-vpc.*.aliyuncs.com",
        "registry-internal.*.aliyuncs.com",
        "*.*.cr.aliyuncs.com",
        "*.*.personal.cr.aliyuncs.com",
    ],
};

/// The clouds' registries, whether or not the clouds themselves were built in: an image can be pushed to any of them.
pub const REGISTRIES: &[KnownRegistry] = &[
    KnownRegistry {
        name: "Amazon ECR",
        hosts: ECR,
        login: Some("the user AWS and `aws ecr get-login-password`, good for twelve hours"),
        uploads: 6,
        fixed_tag_codes: &["TAG_INVALID", "ImageTagAlreadyExistsException"],
        repositories: Some("aws ecr create-repository"),
        ..PLAIN
    },
    KnownRegistry {
        name: "Amazon ECR Public",
        hosts: &["public.ecr.aws"],
        login: Some("the user AWS and `aws ecr-public get-login-password --region us-east-1`"),
        uploads: 6,
        repositories: Some("aws ecr-public create-repository --region us-east-1"),
        limits: Some("ECR Public lets everybody pull a little and accounts more: log in"),
        ..PLAIN
    },
    KnownRegistry {
        name: "Tencent Container Registry",
        hosts: TCR,
        login: Some("a user and a long-term token of the instance, or one of CreateInstanceToken"),
        fixed_tag_codes: &["TAG_INVALID", "PRECONDITION"],
        repositories: Some("the first part of its path must be a namespace that exists"),
        ..PLAIN
    },
    KnownRegistry {
        name: "Alibaba Cloud Container Registry",
        hosts: &["*.cr.aliyuncs.com", "registry.*.aliyuncs.com", "registry-*.*.aliyuncs.com"],
        login: Some(
            "the account's name and the registry's own password, or a temporary token of the instance",
        ),
        repositories: Some("the first part of its path must be a namespace that exists"),
        ..PLAIN
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_of_a_cloud_gets_images_in_that_cloud_s_shape() {
        for (host, name) in [
            ("123456789012.dkr.ecr.us-east-1.amazonaws.com", "lambda"),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "lambda"),
            ("public.ecr.aws", "oci"),
            ("shop.tencentcloudcr.com", "scf"),
            ("ccr.ccs.tencentyun.com", "scf"),
            ("hkccr.ccs.tencentyun.com", "scf"),
            ("registry.cn-hangzhou.aliyuncs.com", "fc"),
            ("shop-registry.cn-hangzhou.cr.aliyuncs.com", "fc"),
            ("shop-registry-vpc.cn-hangzhou.cr.aliyuncs.com", "fc"),
            ("crpi-abc123.cn-hangzhou.personal.cr.aliyuncs.com", "fc"),
            ("docker.io", "oci"),
            ("ghcr.io", "oci"),
            ("127.0.0.1:5000", "oci"),
            ("amazonaws.com", "oci"),
            ("123.dkr.ecr.us-east-1.amazonaws.com.example.net", "oci"),
        ] {
            assert_eq!(profile_of(host).name, name, "{host}");
        }
    }

    #[test]
    fn every_profile_takes_gzip_names_platforms_and_has_a_word_of_its_own() {
        let mut words: Vec<&str> = profiles().iter().map(|profile| profile.name).collect();
        for profile in profiles() {
            assert!(profile.layers.contains(&Compression::Gzip) && !profile.formats.is_empty());
            for platform in profile.platforms {
                assert!(platform.parse::<longshore_contract::Platform>().is_ok(), "{platform}");
            }
        }
        words.dedup();
        assert_eq!(words, ["lambda", "scf", "fc", "oci", "docker"]);
    }

    #[test]
    fn a_clouds_registry_is_known_by_its_host() {
        for (host, name) in [
            ("123456789012.dkr.ecr.us-east-1.amazonaws.com", "Amazon ECR"),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "Amazon ECR"),
            ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "Amazon ECR"),
            ("123456789012.dkr-ecr.us-east-1.on.aws", "Amazon ECR"),
            ("public.ecr.aws", "Amazon ECR Public"),
            ("tcr-abc.tencentcloudcr.com", "Tencent Container Registry"),
            ("ccr.ccs.tencentyun.com", "Tencent Container Registry"),
            ("hkccr.ccs.tencentyun.com", "Tencent Container Registry"),
            ("shop-registry.cn-hangzhou.cr.aliyuncs.com", "Alibaba Cloud Container Registry"),
            ("registry.cn-hangzhou.aliyuncs.com", "Alibaba Cloud Container Registry"),
            ("registry-vpc.cn-hangzhou.aliyuncs.com", "Alibaba Cloud Container Registry"),
            ("docker.io", "Docker Hub"),
            ("dkr.ecr.us-east-1.amazonaws.com", PLAIN.name),
            ("oss-cn-hangzhou.aliyuncs.com", PLAIN.name),
        ] {
            assert_eq!(KnownRegistry::of_host(host, REGISTRIES).name, name, "{host}");
        }
    }
}
