//! Every cloud this program was built with: the one place in `src/` that may name one.

use std::sync::LazyLock;

use longshore_contract::Registration;

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

/// The clouds' registries, whether or not the clouds themselves were built in: an image can be pushed to any of them.
pub const REGISTRIES: &[KnownRegistry] = &[
    KnownRegistry {
        name: "Amazon ECR",
        hosts: &[
            "*.dkr.ecr.*.amazonaws.com",
            "*.dkr.ecr.*.amazonaws.com.cn",
            "*.dkr.ecr-fips.*.amazonaws.com",
            "*.dkr-ecr.*.on.aws",
        ],
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
        hosts: &["*.tencentcloudcr.com", "ccr.ccs.tencentyun.com", "*ccr.ccs.tencentyun.com"],
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
