//! As much of JSON Schema 2020-12 as the manifest's schema uses; anything else in a schema is a failure.

use serde_json::Value;

/// Why `value` does not fit `schema`, a place and a reason per line; empty where it fits.
pub(crate) fn validate(root: &Value, schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let Value::Object(schema) = schema else {
        return if *schema == Value::Bool(true) { vec![] } else { vec![format!("{path}: nothing fits")] };
    };
    let mut reasons = Vec::new();
    for (keyword, argument) in schema {
        match keyword.as_str() {
            "$schema" | "title" | "description" | "default" | "$defs" | "examples" => {}
            "$ref" => {
                let pointer =
                    argument.as_str().and_then(|text| text.strip_prefix('#')).expect("a local reference");
                let target =
                    root.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in the schema"));
                reasons.extend(validate(root, target, value, path));
            }
            "anyOf" => {
                let tries: Vec<Vec<String>> =
                    list(argument).iter().map(|one| validate(root, one, value, path)).collect();
                if tries.iter().all(|reasons| !reasons.is_empty()) {
                    reasons.push(format!("{path}: none of: {}", tries.concat().join(" / ")));
                }
            }
            "type" => {
                let wanted =
                    if argument.is_array() { list(argument).to_vec() } else { vec![argument.clone()] };
                if !wanted.iter().any(|wanted| is(value, wanted.as_str().expect("a type"))) {
                    reasons.push(format!("{path}: {value} is not {argument}"));
                }
            }
            "enum" if !list(argument).contains(value) => {
                reasons.push(format!("{path}: {value} is not in {argument}"))
            }
            "enum" => {}
            "pattern" => {
                let pattern = argument.as_str().expect("a pattern");
                if value.as_str().is_some_and(|text| !matches(pattern, text)) {
                    reasons.push(format!("{path}: {value} does not match {pattern}"));
                }
            }
            "minimum" if value.as_u64() < argument.as_u64() && value.is_number() => {
                reasons.push(format!("{path}: {value} is below {argument}"));
            }
            "maximum" if value.as_f64() > argument.as_f64() && value.is_number() => {
                reasons.push(format!("{path}: {value} is above {argument}"));
            }
            "minimum" | "maximum" => {}
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    reasons.extend(validate(root, argument, item, &format!("{path}[{index}]")));
                }
            }
            "required" => {
                for key in list(argument).iter().filter_map(Value::as_str) {
                    if value.as_object().is_some_and(|object| !object.contains_key(key)) {
                        reasons.push(format!("{path}: lacks {key}"));
                    }
                }
            }
            "propertyNames" => {
                for key in value.as_object().into_iter().flat_map(|object| object.keys()) {
                    reasons.extend(validate(
                        root,
                        argument,
                        &Value::from(key.as_str()),
                        &format!("{path}.{key}"),
                    ));
                }
            }
            "properties" => {
                for (key, schema) in argument.as_object().expect("properties") {
                    if let Some(value) = value.get(key) {
                        reasons.extend(validate(root, schema, value, &format!("{path}.{key}")));
                    }
                }
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (key, value) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| !known.contains_key(key)) {
                        reasons.extend(validate(root, argument, value, &format!("{path}.{key}")));
                    }
                }
            }
            other => panic!("{path}: the validator does not know {other}"),
        }
    }
    reasons
}

fn list(argument: &Value) -> &[Value] {
    argument.as_array().expect("a list")
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no such type: {other}"),
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    regex::Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).is_match(text)
}
