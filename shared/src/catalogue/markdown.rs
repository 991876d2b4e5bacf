//! The reference page of all tools, written from their declarations.

use super::{ToolSpec, Toolset, all};
use core::fmt::Write as _;
use serde_json::{Map, Value};

/// The content of `docs/reference/tools.md`.
#[must_use]
pub fn tools_markdown() -> String {
    let mut page = String::from(
        "# Tools\n\nThis page is generated from the tool catalogue; edit the catalogue, not the \
         page.\n\nDecimals leave as strings; they come in as strings or as numbers of at most 15 \
         digits. Times are RFC 3339 in UTC. Arguments that a tool doesn't know are refused.\n",
    );
    for toolset in Toolset::ALL {
        // Writing to a String can't fail.
        let _ = write!(page, "\n## Toolset `{}`\n", toolset.as_str());
        for spec in all().iter().filter(|spec| spec.toolset == *toolset) {
            write_tool(&mut page, spec);
        }
    }
    page
}

fn write_tool(page: &mut String, spec: &ToolSpec) {
    let yes_no = |value: bool| if value { "yes" } else { "no" };
    let default = if spec.in_default { "" } else { " · not in the default set" };
    let _ = write!(
        page,
        "\n### `{}`\n\n{}. {}\n\nScope `{}` · risk {}{default}\n\nRead-only: {} · \
         destructive: {} · idempotent: {} · reaches beyond the gateway: {}\n",
        spec.name,
        spec.title,
        spec.description,
        spec.scope,
        spec.risk.as_str(),
        yes_no(spec.read_only),
        yes_no(spec.destructive),
        yes_no(spec.idempotent),
        yes_no(spec.open_world),
    );
    write_fields(page, "argument", spec.input_schema());
    write_fields(page, "answer", spec.output_schema());
}

fn write_fields(page: &mut String, what: &str, schema: &Map<String, Value>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let Some(properties) = properties.filter(|properties| !properties.is_empty()) else {
        let _ = write!(page, "\nNo {what}s.\n");
        return;
    };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut names: Vec<&String> = properties.keys().collect();
    names.sort();
    let _ = write!(page, "\n| {what} | type | always | meaning |\n|---|---|---|---|\n");
    for name in names {
        let Some(property) = properties.get(name) else {
            continue;
        };
        let always = if required.contains(&name.as_str()) { "yes" } else { "" };
        let meaning = property.get("description").and_then(Value::as_str).unwrap_or_default();
        let meaning = meaning.replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(page, "| `{name}` | {} | {always} | {meaning} |", type_of(property));
    }
}

fn type_of(property: &Value) -> String {
    let names = |list: &Value| -> Vec<String> {
        match list {
            Value::Array(items) => {
                items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Value::String(name) => vec![name.clone()],
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
        }
    };
    if let Some(choices) = property.get("enum") {
        let quoted: Vec<String> = names(choices).iter().map(|name| format!("`{name}`")).collect();
        return quoted.join(" ");
    }
    property.get("type").map(|types| names(types).join(" or ")).unwrap_or_default()
}
