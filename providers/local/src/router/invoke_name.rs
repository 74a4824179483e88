//! The names that Invoke takes for a function.

use longshore_contract::{FunctionName, Qualifier};

use crate::router::invoke_refusal::Refusal;

/// A function and the face of it that is meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) function: FunctionName,
    pub(crate) at: Qualifier,
}

/// Understands `NAME`, `NAME:QUALIFIER`, `ACCOUNT:function:NAME` and a whole ARN, each with or without a qualifier of its own,
/// and `qualifier`, which stands beside it. Region and account are taken as they come.
pub(crate) fn parse(name: &str, qualifier: Option<&str>) -> Result<Named, Refusal> {
    let parts: Vec<&str> = name.split(':').collect();
    let (function, own) = match parts.as_slice() {
        ["arn", _, "lambda", _, _, "function", function] => (function, None),
        ["arn", _, "lambda", _, _, "function", function, own] => (function, Some(*own)),
        [_, "function", function] => (function, None),
        [_, "function", function, own] => (function, Some(*own)),
        ["function", function] | [function] => (function, None),
        [function, own] => (function, Some(*own)),
        _ => return Err(Refusal::invalid(&format!("{name:?} is not the name of a function"))),
    };
    if own.is_some() && qualifier.is_some() && own != qualifier {
        return Err(Refusal::invalid(
            "The derived qualifier from the function name does not match the specified qualifier.",
        ));
    }
    let at = match own.or(qualifier) {
        None | Some("$LATEST") => Qualifier::Latest,
        Some(text) => {
            let version = text.parse().map(Qualifier::Version);
            version
                .or_else(|_| text.parse().map(Qualifier::Alias))
                .map_err(|_| Refusal::invalid(&format!("{text:?} is neither a version nor an alias")))?
        }
    };
    let function = function
        .parse()
        .map_err(|_| Refusal::invalid(&format!("{function:?} is not the name of a function")))?;
    Ok(Named { function, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, qualifier: Option<&str>) -> Option<String> {
        parse(name, qualifier).ok().map(|named| format!("{} {}", named.function, named.at))
    }

    #[test]
    fn every_form_of_a_name_is_understood() {
        for (name, qualifier, expected) in [
            ("shop", None, "shop $LATEST"),
            ("shop", Some("$LATEST"), "shop $LATEST"),
            ("shop", Some("7"), "shop 7"),
            ("shop:live", None, "shop live"),
            ("shop:live", Some("live"), "shop live"),
            ("function:shop", Some("live"), "shop live"),
            ("123456789012:function:shop", None, "shop $LATEST"),
            ("123456789012:function:shop:live", None, "shop live"),
            ("arn:aws:lambda:eu-west-1:123456789012:function:shop", Some("live"), "shop live"),
            ("arn:aws-cn:lambda:cn-north-1:123456789012:function:shop:3", None, "shop 3"),
        ] {
            assert_eq!(told(name, qualifier).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (name, qualifier) in
            [("shop:live", Some("7")), ("", None), ("a:b:c", None), ("shop", Some("a b"))]
        {
            assert_eq!(told(name, qualifier), None, "{name} {qualifier:?}");
        }
    }
}
