//! HTML in the broker's texts, shown as plain text. Nothing is ever rendered.

use core::iter::Peekable;
use core::str::Chars;

/// Longest text that is looked at; the rest is cut.
const MAX_BYTES: usize = 64 * 1024;
/// Longest entity, without `&` and `;`.
const MAX_ENTITY: usize = 10;
/// Elements whose content isn't text.
const HIDDEN: [&str; 4] = ["script", "style", "head", "template"];

/// Drops tags and comments, decodes entities, and makes one space of all white space.
pub(crate) fn plain(html: &str) -> String {
    let mut rest = cut(html);
    let mut text = String::with_capacity(rest.len().min(1024));
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        text.push_str(before);
        let Some((name, after)) = tag_end(tag) else {
            // A lone "<" is text.
            text.push('<');
            rest = tag.strip_prefix('<').unwrap_or_default();
            continue;
        };
        text.push(' ');
        rest = if HIDDEN.contains(&name.as_str()) { after_element(after, &name) } else { after };
    }
    text.push_str(rest);
    let words: Vec<String> = decode(&text).split_whitespace().map(str::to_owned).collect();
    words.join(" ")
}

/// Decodes entities only: for names, which hold no tags.
pub(crate) fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '&' {
            entity(&mut chars, &mut out);
        } else {
            out.push(c);
        }
    }
    out
}

/// Reads an entity after its `&`; what isn't one is text as it stands.
fn entity(chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    let mut name = String::new();
    while name.len() < MAX_ENTITY
        && let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '#')
    {
        name.push(c);
    }
    let decoded = match chars.peek() {
        Some(';') => named(&name).or_else(|| numbered(&name)),
        Some(_) | None => None,
    };
    match decoded {
        Some(c) => {
            chars.next();
            out.push(c);
        }
        None => {
            out.push('&');
            out.push_str(&name);
        }
    }
}

fn named(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        "ndash" => '–',
        "mdash" => '—',
        "hellip" => '…',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "bull" => '•',
        "euro" => '€',
        "pound" => '£',
        "yen" => '¥',
        "copy" => '©',
        "reg" => '®',
        "trade" => '™',
        _ => return None,
    })
}

fn numbered(name: &str) -> Option<char> {
    let digits = name.strip_prefix('#')?;
    let number = match digits.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    char::from_u32(number)
}

/// The lower-case name of the tag that a text begins with, and what follows the tag.
fn tag_end(text: &str) -> Option<(String, &str)> {
    if let Some(comment) = text.strip_prefix("<!--") {
        let (_, after) = comment.split_once("-->")?;
        return Some((String::new(), after));
    }
    let inner = text.strip_prefix('<')?;
    let starts = |c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?');
    if !inner.starts_with(starts) {
        return None;
    }
    let (tag, after) = inner.split_once('>')?;
    let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
    Some((name.to_ascii_lowercase(), after))
}

/// What follows the end tag of an element; nothing if it never ends.
fn after_element<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some(at) = rest.find("</") {
        let (_, tag) = rest.split_at(at);
        let inner = tag.strip_prefix("</").unwrap_or_default();
        let is_end = inner.get(..name.len()).is_some_and(|own| own.eq_ignore_ascii_case(name));
        if is_end {
            return inner.split_once('>').map_or("", |(_, after)| after);
        }
        rest = inner;
    }
    ""
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_BYTES);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_and_entities_are_decoded() {
        for (html, expected) in [
            (
                "<h4>Mandatory&nbsp;Cap Price</h4>To avoid<br/>trading",
                "Mandatory Cap Price To avoid trading",
            ),
            ("a &lt;b&gt; &amp; c", "a <b> & c"),
            ("&#x6A21;&#25311;", "模拟"),
            ("5 < 6 and 7 > 3", "5 < 6 and 7 > 3"),
            ("x<!-- hidden > -->y", "x y"),
            ("x<script>alert('<b>')</script>y", "x y"),
            ("x<STYLE>a{}</style >y", "x y"),
            ("x<script>never ends", "x"),
            ("AT&T &unknown; &", "AT&T &unknown; &"),
            ("&#xFFFFFFFF;&#55296;", "&#xFFFFFFFF;&#55296;"),
            ("<a href=\"http://x\">go</a>", "go"),
            ("tail <", "tail <"),
            ("", ""),
        ] {
            assert_eq!(plain(html), expected, "{html}");
        }
    }

    #[test]
    fn names_keep_their_signs() {
        assert_eq!(decode("JPMORGAN CHASE &amp; CO"), "JPMORGAN CHASE & CO");
        assert_eq!(decode("S&P 500 <x>"), "S&P 500 <x>");
    }

    #[test]
    fn a_huge_text_is_cut_at_a_character() {
        let shown = plain(&"é".repeat(MAX_BYTES));
        assert!(shown.len() <= MAX_BYTES && shown.len() >= MAX_BYTES - 2);
    }
}
