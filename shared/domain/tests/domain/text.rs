//! Outside text is bounded and shows what it hides.

use ibkr_agent_domain::Untrusted;
use proptest::prelude::*;

/// Characters that change how their surroundings look.
const DECEPTIVE: &[char] = &[
    '\0',
    '\u{1b}',
    '\n',
    '\r',
    '\t',
    '\u{7f}',
    '\u{9b}',
    '\u{ad}',
    '\u{61c}',
    '\u{200b}',
    '\u{200d}',
    '\u{200e}',
    '\u{200f}',
    '\u{2028}',
    '\u{2029}',
    '\u{202a}',
    '\u{202e}',
    '\u{2060}',
    '\u{2066}',
    '\u{2069}',
    '\u{feff}',
    '\u{fe0f}',
    '\u{fff9}',
    '\u{e0001}',
    '\u{e007f}',
    '\u{3164}',
];

#[test]
fn every_deceptive_character_arrives_as_its_escape() {
    for character in DECEPTIVE {
        let shown = Untrusted::new(&format!("a{character}b")).to_string();
        assert_eq!(shown, format!("a{}b", character.escape_unicode()));
    }
}

#[test]
fn plain_text_of_any_script_stays_as_it_is() {
    for text in ["BRK B", "Société Générale", "トヨタ自動車", "Ελλάς", "100 % – “quoted”", "🙂"]
    {
        assert_eq!(Untrusted::new(text).as_str(), text);
    }
}

#[test]
fn the_bound_has_two_sides() {
    let whole = "x".repeat(512);
    assert_eq!(Untrusted::new(&whole).as_str(), whole);
    let cut = Untrusted::new(&format!("{whole}y")).to_string();
    assert_eq!(cut, format!("{whole}…[cut]"));
}

proptest! {
    #[test]
    fn no_text_keeps_a_deceptive_character_or_outgrows_its_bound(
        text in any::<String>(), max in 0_usize..60,
    ) {
        let shown = Untrusted::bounded(&text, max).to_string();
        let deceptive = |c: char| c.is_control() || DECEPTIVE.contains(&c);
        prop_assert!(!shown.chars().any(deceptive), "{:?}", shown);
        // The longest escape is ten characters: \u{10ffff}.
        prop_assert!(shown.chars().count() <= max * 10 + 6);
    }
}
