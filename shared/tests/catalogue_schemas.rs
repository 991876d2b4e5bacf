//! What is published about the tools: names, annotations, schemas, and one golden file per tool.
//!
//! A golden file holds what is `published` of a tool, an `example` call with its answer, and how
//! many `tokens` that answer has. Here `UPDATE_GOLDEN=1` rewrites what is published and leaves the
//! rest, which the sidecar's `tools_golden` test owns.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ibkr_agent_domain::Digest;
use ibkr_agent_protocol::catalogue::{
    FORBIDDEN, RiskClass, ToolSpec, Toolset, all, catalogue_hash, find, tools_markdown,
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
fn names_are_unique_and_every_toolset_has_tools() {
    let names: BTreeSet<&str> = all().iter().map(|spec| spec.name).collect();
    assert_eq!(names.len(), all().len(), "a name stands twice");
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
fn the_default_set_is_these_21_tools_which_answer_most_questions_and_ask_for_orders() {
    let default: BTreeSet<&str> =
        all().iter().filter(|spec| spec.in_default).map(|spec| spec.name).collect();
    let expected = [
        "ibkr_health",
        "ibkr_session_requirements",
        "ibkr_accounts_list",
        "ibkr_portfolio_overview",
        "ibkr_positions_list",
        "ibkr_instrument_brief",
        "ibkr_contracts_search",
        "ibkr_contract_resolve",
        "ibkr_market_snapshot",
        "ibkr_historical_bars",
        "ibkr_options_chain",
        "ibkr_orders_list",
        "ibkr_executions_list",
        "ibkr_changes_since",
        "ibkr_order_preview",
        "ibkr_approvals_create",
        "ibkr_approval_status",
        "ibkr_paper_order_cancel",
        "ibkr_order_outcome",
        "ibkr_limits_status",
        "ibkr_kill_switch_status",
    ];
    assert_eq!(expected.len(), 21, "clients get worse with more");
    assert_eq!(default, BTreeSet::from(expected));
}

#[test]
fn no_listed_tool_that_leads_to_a_working_order_carries_a_destructive_hint() {
    let listed = all().iter().filter(|spec| spec.in_default && spec.destructive);
    let names: Vec<&str> = listed.map(|spec| spec.name).collect();
    assert_eq!(names, ["ibkr_paper_order_cancel"], "hosts' models refuse to call them");
    let asks = find("ibkr_approvals_create").unwrap();
    assert!(!asks.read_only && !asks.destructive && asks.open_world, "it says what it leads to");
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
fn a_write_submits_unless_it_is_a_cancel_and_nothing_else_does() {
    let named = |wanted: bool| {
        let found = all().iter().filter(|spec| spec.risk.is_write());
        found.filter(|spec| spec.is_submit() == wanted).map(|spec| spec.name).collect::<Vec<_>>()
    };
    assert_eq!(named(true), ["ibkr_paper_order_submit"]);
    assert_eq!(named(false), ["ibkr_paper_order_cancel"]);
    assert!(all().iter().all(|spec| spec.risk.is_write() || !spec.is_submit()));
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
        "ibkr_historical_bars" => {
            json!({"contract_id": 265_598, "duration": "1 D", "bar_size": "5 mins"})
        }
        "ibkr_market_depth" => json!({"contract_id": 265_598, "account_id": "DU1234567"}),
        "ibkr_options_chain" => json!({"symbol": "SPY", "expiry": "2027-01-15", "right": "call"}),
        "ibkr_option_greeks" => json!({"contract_id": "265598"}),
        "ibkr_scanner_run" => json!({"scanner_code": "TOP_PERC_GAIN",
            "filters": [{"code": "priceAbove", "value": "5"}]}),
        "ibkr_news_list" | "ibkr_fundamentals_get" => json!({"symbol": "AAPL"}),
        "ibkr_news_article" => json!({"article_id": "BRFG$1"}),
        "ibkr_market_session" | "ibkr_market_holidays" => json!({"exchange": "NYSE"}),
        "ibkr_currency_rate" => json!({"base": "EUR", "quote": "USD"}),
        "ibkr_currency_pairs" => json!({"currency": "USD"}),
        "ibkr_contract_details" | "ibkr_instrument_brief" => json!({"instrument": "AAPL"}),
        "ibkr_futures_list" => json!({"symbol": "ES"}),
        "ibkr_resources_wait" => json!({"resources": ["ibkr://accounts/DU1234567/positions"]}),
        "ibkr_order_status" => json!({"account_id": "DU1234567", "broker_order_id": "1"}),
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

fn golden(name: &str) -> Value {
    let text = std::fs::read_to_string(golden_folder().join(format!("{name}.json")));
    text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
}

#[test]
fn what_is_published_equals_the_golden_files() {
    let folder = golden_folder();
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut expected = BTreeSet::new();
    for spec in all() {
        let published = spec.published();
        expected.insert(format!("{}.json", spec.name));
        if update {
            let mut file = json!({"published": published});
            let known = golden(spec.name);
            for kept in ["example", "tokens"] {
                if let Some(value) = known.get(kept) {
                    file[kept] = value.clone();
                }
            }
            let text = format!("{}\n", serde_json::to_string_pretty(&file).unwrap());
            std::fs::write(folder.join(format!("{}.json", spec.name)), text).unwrap();
        }
        let golden = golden(spec.name);
        let name = spec.name;
        assert_eq!(golden["published"], published, "{name}: bump it knowingly, UPDATE_GOLDEN=1");
    }
    let present: BTreeSet<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(present, expected, "a golden file without its tool");
}

#[test]
fn the_example_of_every_golden_file_fits_its_published_schemas() {
    for spec in all() {
        let golden = golden(spec.name);
        let example = &golden["example"];
        let arguments = &example["arguments"];
        assert!(compiled(spec.input_schema()).is_valid(arguments), "{}: {arguments}", spec.name);
        if let Some(result) = example.get("result") {
            let outcome =
                compiled(spec.output_schema()).validate(result).map_err(|e| e.to_string());
            assert_eq!(outcome, Ok(()), "{}", spec.name);
        } else {
            // What the broker doesn't serve has an error for an example.
            assert!(example["error"]["code"].is_string(), "{} has no example", spec.name);
        }
        assert!(golden["tokens"].as_u64().is_some_and(|tokens| tokens <= 1_500), "{}", spec.name);
    }
}

#[test]
fn the_catalogue_hash_is_that_of_the_golden_files_in_catalogue_order() {
    let published = |spec: &ToolSpec| golden(spec.name)["published"].to_string();
    let lines: Vec<String> = all().iter().map(published).collect();
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
