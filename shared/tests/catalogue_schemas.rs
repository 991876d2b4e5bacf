//! What is published about the tools: names, annotations, schemas, and one golden file per tool.
//!
//! `UPDATE_GOLDEN=1` rewrites `fixtures/tools/`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ibkr_agent_domain::Digest;
use ibkr_agent_protocol::catalogue::{
    FORBIDDEN, RiskClass, Toolset, all, catalogue_hash, find, tools_markdown,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn golden_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tools")
}

type Schema = Map<String, Value>;

fn compiled(schema: &Schema) -> jsonschema::Validator {
    jsonschema::draft202012::new(&Value::Object(schema.clone())).unwrap()
}

/// Every schema inside a schema, itself included, with where it stands.
fn each_schema<'a>(at: &str, schema: &'a Value, found: &mut Vec<(String, &'a Schema)>) {
    let Value::Object(schema) = schema else {
        return;
    };
    found.push((at.to_owned(), schema));
    if let Some(Value::Object(properties)) = schema.get("properties") {
        for (name, property) in properties {
            each_schema(&format!("{at}.{name}"), property, found);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            each_schema(&format!("{at}.{key}"), inner, found);
        }
    }
}

#[test]
fn the_catalogue_holds_the_23_tools_of_this_version_and_22_by_default() {
    let names: BTreeSet<&str> = all().iter().map(|spec| spec.name).collect();
    assert_eq!(names.len(), all().len(), "a name stands twice");
    assert_eq!(names.len(), 23);
    assert!(all().iter().filter(|spec| spec.in_default).count() <= 22);
    for name in names {
        assert!(name.starts_with("ibkr_") && name.len() <= 40, "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        assert!(find(name).is_some());
    }
    for toolset in Toolset::ALL {
        assert!(all().iter().any(|spec| spec.toolset == *toolset), "{toolset:?}");
    }
}

#[test]
fn no_generic_write_and_nothing_that_approves_is_listed() {
    assert_eq!(FORBIDDEN.len(), 6);
    for name in FORBIDDEN {
        assert!(find(name).is_none(), "{name}");
    }
    assert!(all().iter().all(|spec| !spec.name.contains("approve")));
}

#[test]
fn annotations_follow_from_what_a_tool_can_do() {
    for spec in all() {
        let name = spec.name;
        assert_eq!(spec.destructive, spec.risk.is_write(), "{name}");
        if spec.read_only {
            assert!(matches!(spec.risk, RiskClass::Read | RiskClass::Preview), "{name}");
            assert!(!spec.destructive, "{name}");
        }
        assert!(spec.description.len() < 900 && spec.description.ends_with('.'), "{name}");
        assert!(!spec.description.contains("  "), "{name}");
        assert!(spec.title.len() <= 40, "{name}");
    }
}

#[test]
fn every_schema_is_valid_and_plain() {
    for spec in all() {
        for (kind, schema) in [("in", spec.input_schema()), ("out", spec.output_schema())] {
            compiled(schema);
            assert_eq!(schema.get("type"), Some(&json!("object")), "{} {kind}", spec.name);
            let root = Value::Object(schema.as_ref().clone());
            let mut found = Vec::new();
            each_schema(&format!("{} {kind}", spec.name), &root, &mut found);
            for (at, part) in found {
                assert!(part.contains_key("type"), "{at} has no type");
                for key in [
                    "$ref", "$defs", "$schema", "oneOf", "anyOf", "allOf", "format", "title", "not",
                ] {
                    // A property may have any of these names; a schema's own keyword may not.
                    assert!(!part.contains_key(key), "{at} has {key}");
                }
                if part.get("type") == Some(&json!("object")) {
                    assert!(part.contains_key("properties"), "{at}");
                }
            }
        }
    }
}

#[test]
fn inputs_are_closed_documented_and_never_advertise_null() {
    for spec in all() {
        let schema = spec.input_schema();
        assert_eq!(schema.get("additionalProperties"), Some(&json!(false)), "{}", spec.name);
        let properties = schema["properties"].as_object().unwrap();
        for (name, property) in properties {
            let described = property["description"].as_str().unwrap_or_default();
            assert!(described.ends_with('.'), "{}.{name}", spec.name);
            assert!(!property["type"].to_string().contains("null"), "{}.{name}", spec.name);
        }
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten() {
            assert!(properties.contains_key(name.as_str().unwrap()), "{}", spec.name);
        }
    }
}

#[test]
fn outputs_describe_each_of_their_fields() {
    for spec in all() {
        let root = Value::Object(spec.output_schema().as_ref().clone());
        let mut found = Vec::new();
        each_schema(spec.name, &root, &mut found);
        for (at, part) in found {
            let Some(Value::Object(properties)) = part.get("properties") else {
                continue;
            };
            for (name, property) in properties {
                assert!(property["description"].is_string(), "{at}.{name}");
            }
        }
    }
}

/// Arguments that each tool must take: its required ones, in the shape of an older gateway.
fn plausible(name: &str) -> Value {
    match name {
        "ibkr_account_metadata"
        | "ibkr_account_summary"
        | "ibkr_positions_list"
        | "ibkr_portfolio_snapshot"
        | "ibkr_orders_list"
        | "ibkr_executions_list"
        | "ibkr_kill_switch_status"
        | "ibkr_limits_status" => json!({"account_id": "DU1234567"}),
        "ibkr_contracts_search" => json!({"query": "AAPL", "asset_class": "stock"}),
        "ibkr_contract_resolve" => {
            json!({"symbol": "AAPL", "currency": "USD", "exchange": "SMART"})
        }
        "ibkr_market_snapshot" => json!({"contract_id": "265598"}),
        "ibkr_order_preview" => json!({"account_id": "DU1234567", "symbol": "AAPL", "side": "buy",
            "quantity": "1", "order_type": "limit", "limit_price": 100.5}),
        "ibkr_approvals_create" => {
            json!({"account_id": "DU1234567", "preview_id": "p1", "ttl_seconds": 300})
        }
        "ibkr_approval_status" => json!({"approval_id": "a1", "wait_seconds": 25}),
        "ibkr_paper_order_submit" => {
            json!({"account_id": "DU1234567", "approval_id": "a1", "idempotency_key": "k1"})
        }
        "ibkr_paper_order_cancel" => {
            json!({"account_id": "DU1234567", "broker_order_id": "1", "idempotency_key": "k2"})
        }
        "ibkr_order_outcome" => json!({"approval_id": "a1"}),
        "ibkr_audit_tail" => json!({"limit": 20}),
        _ => json!({}),
    }
}

#[test]
fn every_input_schema_takes_its_own_required_arguments_and_refuses_to_miss_one() {
    for spec in all() {
        let validator = compiled(spec.input_schema());
        let arguments = plausible(spec.name);
        assert!(validator.is_valid(&arguments), "{} refuses {arguments}", spec.name);
        let mut surplus = arguments.clone();
        surplus["surplus"] = json!(1);
        assert!(!validator.is_valid(&surplus), "{} takes a surplus argument", spec.name);
        for name in
            spec.input_schema().get("required").and_then(Value::as_array).into_iter().flatten()
        {
            let mut missing = arguments.clone();
            missing.as_object_mut().unwrap().remove(name.as_str().unwrap()).unwrap();
            assert!(!validator.is_valid(&missing), "{} can do without {name}", spec.name);
        }
    }
}

#[test]
fn what_is_published_equals_the_golden_files() {
    let folder = golden_folder();
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut expected = BTreeSet::new();
    for spec in all() {
        let file = folder.join(format!("{}.json", spec.name));
        let text = format!("{}\n", serde_json::to_string_pretty(&spec.published()).unwrap());
        expected.insert(format!("{}.json", spec.name));
        if update {
            std::fs::write(&file, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, golden, "{} changed: bump it knowingly with UPDATE_GOLDEN=1", spec.name);
    }
    let present: BTreeSet<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(present, expected, "a golden file without its tool");
}

#[test]
fn the_catalogue_hash_is_that_of_the_golden_files_in_catalogue_order() {
    let lines: Vec<String> = all()
        .iter()
        .map(|spec| {
            let file = golden_folder().join(format!("{}.json", spec.name));
            let text = std::fs::read_to_string(file).unwrap();
            serde_json::from_str::<Value>(&text).unwrap().to_string()
        })
        .collect();
    assert_eq!(catalogue_hash(), Digest::of(lines.join("\n").as_bytes()));
}

#[test]
fn the_reference_page_names_every_tool_scope_and_argument() {
    let page = tools_markdown();
    for spec in all() {
        assert!(page.contains(&format!("### `{}`", spec.name)), "{}", spec.name);
        assert!(page.contains(&format!("`{}`", spec.scope)), "{}", spec.name);
        for name in spec.input_schema()["properties"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("| `{name}` |")), "{}.{name}", spec.name);
        }
    }
}
