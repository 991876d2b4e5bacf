//! A JSON answer laid out for people: scalars as lines, columnar lists and lists of objects as
//! tables, the rest indented. It knows no tool, so no tool can be forgotten.

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table, TableStyle,
};
use ibkr_agent_domain::Untrusted;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

/// One line under the header, none between rows.
const LINES: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
/// Longest cell in characters.
const MAX_CELL: usize = 200;
/// Longest line of plain text in characters.
const MAX_LINE: usize = 4000;
/// Most lines of one text.
const MAX_LINES: usize = 200;
/// Deepest nesting that is laid out; what lies deeper is shown as JSON.
const MAX_DEPTH: usize = 6;

/// Whose money it is, before anything else; nothing where the sidecar doesn't say.
fn world(shown: &Value) -> String {
    let text = |key| shown.get(key).and_then(Value::as_str);
    let mode = match text("mode") {
        Some("simulated") => return "SIMULATOR: no broker, no money.\n".to_owned(),
        Some(mode) => escape(&mode.to_uppercase(), MAX_CELL),
        None => return String::new(),
    };
    let broker = escape(text("broker").unwrap_or_default(), MAX_CELL);
    format!("{mode} account at the broker login {broker}.\n")
}

/// Lays an approval out: whose money it is, what the order is, then exactly what is signed, then
/// the rest. The orders' fields beside the canonical lines would say the same again, so only their
/// values stay.
pub(super) fn approval(shown: &Value) -> String {
    let mut rest = shown.clone();
    let mut summary = String::new();
    if let Some(map) = rest.as_object_mut() {
        if let Some(Value::String(text)) = map.remove("order_summary") {
            summary = escape(&text, MAX_LINE);
        }
        // For people its digest and the facts beside it are enough; `--json` has the bytes.
        map.remove("approval_bytes");
        let has_canonical = map.get("canonical_order").is_some_and(Value::is_string);
        let orders = if has_canonical { map.remove("orders") } else { None };
        let orders = orders.as_ref().and_then(Value::as_array).into_iter().flatten();
        let mut values: Vec<Value> =
            orders.filter_map(|order| order.get("notional")).cloned().collect();
        match (values.pop(), values.is_empty()) {
            (Some(only), true) => drop(map.insert("order_value".to_owned(), only)),
            (Some(last), false) => {
                values.push(last);
                map.insert("order_values".to_owned(), Value::Array(values));
            }
            (None, _) => {}
        }
    }
    format!("{}{summary}\n{}", world(shown), people(&rest))
}

/// Whether tables may be coloured: on a terminal, unless its owner wants none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// Plain text.
    Off,
    /// Headers bold, gains green, losses red.
    On,
}

/// Lays a value out.
pub(super) fn people(value: &Value) -> String {
    coloured(value, Colour::Off)
}

/// Lays a value out, with colour where that is wanted.
pub(super) fn coloured(value: &Value, colour: Colour) -> String {
    let mut lines = Vec::new();
    block(value, 0, colour, &mut lines);
    if lines.is_empty() {
        lines.push("(nothing)".to_owned());
    }
    lines.join("\n")
}

/// Text with its line breaks kept and everything that could deceive escaped.
pub(super) fn plain(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| escape(line, MAX_LINE)).collect();
    lines.join("\n")
}

fn block(value: &Value, depth: usize, colour: Colour, lines: &mut Vec<String>) {
    match value {
        Value::Object(map) => object(map, depth, colour, lines),
        Value::Array(items) => list(items, depth, colour, lines),
        Value::String(text) if text.contains('\n') => text_lines(text, depth, lines),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            lines.push(format!("{}{}", indent(depth), cell(value)));
        }
    }
}

/// A text of several lines. Each is marked, so that none can pass for a line of ours.
fn text_lines(text: &str, depth: usize, lines: &mut Vec<String>) {
    let mark = |line: &str| format!("{}| {line}", indent(depth));
    lines.extend(text.lines().take(MAX_LINES).map(|line| mark(&escape(line, MAX_LINE))));
    let left = text.lines().count().saturating_sub(MAX_LINES);
    if left > 0 {
        lines.push(format!("{}({left} more lines)", indent(depth)));
    }
}

fn object(map: &Map<String, Value>, depth: usize, colour: Colour, lines: &mut Vec<String>) {
    if let Some(table) = columnar(map, colour) {
        lines.push(table);
        return;
    }
    let width = map.keys().map(|key| key.chars().count()).max().unwrap_or(0);
    let (short, long): (Vec<_>, Vec<_>) = map.iter().partition(|(_, value)| is_short(value));
    for (key, value) in short {
        let name = escape(&key.replace('_', " "), MAX_CELL);
        lines.push(format!("{}{name:width$}  {}", indent(depth), cell(value)));
    }
    for (key, value) in long {
        lines.push(format!("{}{}:", indent(depth), escape(&key.replace('_', " "), MAX_CELL)));
        if depth < MAX_DEPTH {
            block(value, depth + 1, colour, lines);
        } else {
            lines.push(format!("{}{}", indent(depth + 1), escape(&value.to_string(), MAX_LINE)));
        }
    }
}

fn list(items: &[Value], depth: usize, colour: Colour, lines: &mut Vec<String>) {
    if let Some(table) = rows_of_objects(items, colour) {
        lines.push(table);
        return;
    }
    for item in items {
        if is_short(item) {
            lines.push(format!("{}- {}", indent(depth), cell(item)));
        } else {
            lines.push(format!("{}-", indent(depth)));
            if depth < MAX_DEPTH {
                block(item, depth + 1, colour, lines);
            } else {
                lines.push(escape(&item.to_string(), MAX_LINE));
            }
        }
    }
    if items.is_empty() {
        lines.push(format!("{}(none)", indent(depth)));
    }
}

/// `{columns, rows}`, the shape of every list that tools give by default.
fn columnar(map: &Map<String, Value>, colour: Colour) -> Option<String> {
    let columns = map.get("columns")?.as_array()?;
    let rows = map.get("rows")?.as_array()?;
    let header = columns.iter().map(cell).collect();
    let body = rows.iter().filter_map(Value::as_array).map(|row| row.iter().map(cell).collect());
    Some(table(header, body.collect(), colour))
}

/// A list of flat objects: one row each, the columns being all keys in order of appearance.
fn rows_of_objects(items: &[Value], colour: Colour) -> Option<String> {
    let objects: Vec<&Map<String, Value>> =
        items.iter().map(Value::as_object).collect::<Option<_>>()?;
    if objects.is_empty() || !objects.iter().all(|map| map.values().all(is_cell)) {
        return None;
    }
    let mut keys: Vec<&String> = Vec::new();
    for key in objects.iter().flat_map(|map| map.keys()) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let header = keys.iter().map(|key| escape(key, MAX_CELL)).collect();
    let row = |map: &&Map<String, Value>| {
        keys.iter().map(|key| map.get(*key).map(cell).unwrap_or_default()).collect()
    };
    Some(table(header, objects.iter().map(row).collect(), colour))
}

/// Columns of numbers are aligned to the right, as people compare them.
fn table(header: Vec<String>, rows: Vec<Vec<String>>, colour: Colour) -> String {
    if rows.is_empty() {
        return "  (none)".to_owned();
    }
    let is_number = |at: usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(at)).filter(|cell| *cell != "-");
        cells.clone().next().is_some() && cells.all(|cell| cell.parse::<Decimal>().is_ok())
    };
    let numbers: Vec<bool> = (0..header.len()).map(is_number).collect();
    let results: Vec<bool> = header.iter().map(|name| is_result(name)).collect();
    let mut table = Table::new();
    table.load_style(LINES);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if colour == Colour::On {
        table.enforce_styling();
    }
    table.set_header(header.into_iter().map(|name| {
        let cell = Cell::new(name);
        if colour == Colour::On { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    for row in rows {
        table.add_row(row.into_iter().enumerate().map(|(at, text)| {
            let is_result = results.get(at) == Some(&true);
            let tint = tint(&text).filter(|_| is_result && colour == Colour::On);
            let cell = Cell::new(text);
            tint.map_or_else(|| cell.clone(), |tint| cell.clone().fg(tint))
        }));
    }
    for (at, _) in numbers.iter().enumerate().filter(|(_, is_number)| **is_number) {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// Whether a column tells a gain or a loss.
fn is_result(name: &str) -> bool {
    ["pnl", "change", "return", "profit"].iter().any(|part| name.contains(part))
}

fn tint(text: &str) -> Option<Color> {
    let number: Decimal = text.parse().ok()?;
    if number.is_zero() {
        return None;
    }
    Some(if number.is_sign_negative() { Color::Red } else { Color::Green })
}

/// What fits behind its name on one line.
fn is_short(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => !text.contains('\n'),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty() || money(map).is_some() || broker_text(map).is_some(),
    }
}

/// What fits into a table cell: scalars, money, and short lists of scalars.
fn is_cell(value: &Value) -> bool {
    is_short(value)
        || value.is_string()
        || value.as_array().is_some_and(|items| items.iter().all(|item| !item.is_object()))
}

/// `{"amount": "1.00", "currency": "USD"}` as `1.00 USD`.
fn money(map: &Map<String, Value>) -> Option<String> {
    let amount = map.get("amount")?.as_str()?;
    let currency = map.get("currency")?.as_str()?;
    (map.len() == 2).then(|| escape(&format!("{amount} {currency}"), MAX_CELL))
}

/// `{"source": "broker", "text": "…"}`: outside text keeps its label.
fn broker_text(map: &Map<String, Value>) -> Option<String> {
    let source = map.get("source")?.as_str()?;
    let text = map.get("text")?.as_str()?;
    (map.len() == 2).then(|| escape(&format!("[{source}] {text}"), MAX_CELL))
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => escape(text, MAX_LINE),
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().map(cell).collect();
            if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
        }
        Value::Object(map) => money(map)
            .or_else(|| broker_text(map))
            .unwrap_or_else(|| escape(&value.to_string(), MAX_CELL)),
    }
}

fn escape(text: &str, max: usize) -> String {
    Untrusted::bounded(text, max).as_str().to_owned()
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_come_as_lines_and_lists_as_tables() {
        let text = people(&json!({
            "mode": "simulated",
            "net_liquidation": {"amount": "100.25", "currency": "USD"},
            "table": {"columns": ["symbol", "quantity"], "rows": [["AAPL", "1"], ["MSFT", null]]},
            "checks": [{"name": "quantity", "passed": true}, {"name": "collar", "note": "far"}],
        }));
        assert!(text.contains("mode             simulated"), "{text}");
        assert!(text.contains("100.25 USD"), "{text}");
        for word in ["symbol", "AAPL", "MSFT", "quantity", "collar", "far", "yes"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }

    #[test]
    fn a_text_of_several_lines_is_a_block_and_none_of_its_lines_passes_for_ours() {
        let text = people(&json!({"id": "7", "order": "side=buy\nstatus  approved\n"}));
        assert_eq!(text, "id     7\norder:\n  | side=buy\n  | status  approved");
        let many = people(&json!("x\n".repeat(MAX_LINES + 3)));
        assert!(many.ends_with("(3 more lines)"), "{many}");
        let cells = people(&json!([{"text": "a\nb"}, {"text": "c"}]));
        assert!(cells.contains("a\\u{a}b"), "a table's row stays one line: {cells}");
    }

    #[test]
    fn an_approval_opens_with_its_order_and_says_nothing_twice() {
        let text = approval(&json!({
            "approval_id": "ap-1",
            "canonical_order": "v1\nside=buy\nquantity=7\n",
            "orders": [{"side": "buy", "quantity": "7",
                "notional": {"amount": "700", "currency": "USD"}}],
            "order_summary": "BUY 7 AAPL",
        }));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "BUY 7 AAPL");
        assert!(text.ends_with("canonical order:\n  | v1\n  | side=buy\n  | quantity=7"), "{text}");
        assert!(text.contains("700 USD"), "{text}");
        assert_eq!((text.matches("buy").count(), text.matches('7').count()), (1, 3), "{text}");
    }

    #[test]
    fn an_approval_without_canonical_lines_keeps_its_order() {
        let text = approval(&json!({"orders": [{"side": "buy"}], "order_summary": "\u{1b}[2J"}));
        assert!(text.contains("side") && text.contains("buy"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn nothing_that_deceives_reaches_the_terminal() {
        let evil = "\u{1b}[2J\u{202e}AAPL";
        let shapes = [
            json!(evil),
            json!({ evil: evil }),
            json!([evil]),
            json!([{ evil: evil }]),
            json!(format!("a\n{evil}\r\n{evil}")),
            json!({"columns": [evil], "rows": [[evil]]}),
            json!({"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": evil}}}}}}}}),
        ];
        for shape in shapes {
            let text = people(&shape);
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        }
        assert!(!plain(evil).contains('\u{1b}'));
    }

    #[test]
    fn numbers_stand_to_the_right_and_only_a_terminal_sees_colour() {
        let value = json!({"columns": ["symbol", "daily_pnl"],
            "rows": [["AAPL", "-1.50"], ["MSFT", "120.25"], ["SPY", null]]});
        let plain = people(&value);
        let lines: Vec<&str> = plain.lines().collect();
        let end = |text: &str| lines.iter().find(|l| l.contains(text)).unwrap().trim_end().len();
        assert_eq!(end("-1.50"), end("120.25"), "{plain}");
        assert!(!plain.contains('\u{1b}'));
        let shown = coloured(&value, Colour::On);
        assert!(shown.contains('\u{1b}') && shown.contains("-1.50"), "{shown}");
    }

    #[test]
    fn emptiness_is_said() {
        assert_eq!(people(&json!({})), "(nothing)");
        let empty = people(&json!({"total": 0, "table": {"columns": ["a"], "rows": []}}));
        assert_eq!(empty, "total  0\ntable:\n  (none)", "no cell of the line before");
    }
}
