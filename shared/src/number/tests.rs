//! Laws of the numbers at the door.

use super::*;
use proptest::prelude::*;

fn read(json: &str) -> Result<Decimal, String> {
    serde_json::from_str::<InputNumber>(json).map(|n| n.0).map_err(|error| error.to_string())
}

fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

#[test]
fn strings_and_exact_numbers_are_taken_as_written() {
    for (json, expected) in [
        ("\"100.25\"", "100.25"),
        ("100.25", "100.25"),
        ("\"-0.5\"", "-0.5"),
        ("\"+7\"", "7"),
        ("0.1", "0.1"),
        ("1e2", "100"),
        ("1e-7", "0.0000001"),
        ("-2.50E1", "-25"),
        ("999999999999999", "999999999999999"),
        ("0.000", "0"),
        ("\"12345678901234567890.12345678\"", "12345678901234567890.12345678"),
    ] {
        assert_eq!(read(json).unwrap(), decimal(expected), "{json}");
    }
}

#[test]
fn a_number_that_a_double_may_not_hold_is_refused_and_the_way_out_is_told() {
    for json in [
        "0.1234567890123456",
        "1234567890123456",
        "1000000000000000000",
        "1e15",
        "1e400",
        "1e-400",
        "1e99999999999",
        "123456789.123456789",
    ] {
        let error = read(json).unwrap_err();
        assert!(error.contains("give it as a string"), "{json}: {error}");
    }
}

#[test]
fn strings_that_are_not_plain_decimals_are_refused() {
    for json in [
        "\"\"",
        "\" 1\"",
        "\"1 \"",
        "\"1e3\"",
        "\"1.\"",
        "\".5\"",
        "\"1,000\"",
        "\"--1\"",
        "\"NaN\"",
        "\"Infinity\"",
        "\"0x10\"",
        "\"1_000\"",
        "\"\u{661}\"",
        "true",
        "null",
        "[1]",
        "{}",
        "\"12345678901234567890123456789\"",
    ] {
        assert!(read(json).is_err(), "{json}");
    }
}

#[test]
fn integers_booleans_ids_and_lists_are_taken_in_string_form_too() {
    let integer = |json: &str| serde_json::from_str::<InputInteger>(json).map(|n| n.0).ok();
    assert_eq!(integer("5"), Some(5));
    assert_eq!(integer("\"5\""), Some(5));
    assert_eq!(integer("5.0"), Some(5));
    for json in ["-1", "\"-1\"", "5.5", "\"+5\"", "\"\"", "true", "1e3", "99999999999999999999"] {
        assert_eq!(integer(json), None, "{json}");
    }
    let boolean = |json: &str| serde_json::from_str::<InputBool>(json).map(|b| b.0).ok();
    assert_eq!(boolean("true"), Some(true));
    assert_eq!(boolean("\"False\""), Some(false));
    for json in ["1", "\"yes\"", "null"] {
        assert_eq!(boolean(json), None, "{json}");
    }
    let conid = |json: &str| serde_json::from_str::<InputConid>(json).map(|c| c.0.get()).ok();
    assert_eq!(conid("265598"), Some(265_598));
    assert_eq!(conid("\"265598\""), Some(265_598));
    for json in ["0", "\"AAPL\"", "4294967296"] {
        assert_eq!(conid(json), None, "{json}");
    }
    let list = |json: &str| serde_json::from_str::<InputList<InputConid>>(json).ok();
    assert_eq!(list("[1,\"2\"]").map(|l| l.0.len()), Some(2));
    assert_eq!(list("\"[1,2]\"").map(|l| l.0.len()), Some(2));
    assert!(list("[]").is_none());
    let many = |n: usize| serde_json::to_string(&vec![1; n]).unwrap();
    assert!(list(&many(50)).is_some());
    assert!(list(&many(51)).is_none());
}

#[test]
fn decimals_leave_as_strings_without_needless_zeros() {
    let money = OutputMoney::new(decimal("100.2500"), Currency::USD);
    assert_eq!(serde_json::to_string(&money).unwrap(), r#"{"amount":"100.25","currency":"USD"}"#);
    assert_eq!(serde_json::to_string(&OutputNumber(decimal("500"))).unwrap(), "\"500\"");
}

proptest! {
    #[test]
    fn every_decimal_survives_out_and_in(
        mantissa in -(10_i128.pow(27))..10_i128.pow(27),
        scale in 0_u32..=27,
    ) {
        let value = Decimal::from_i128_with_scale(mantissa, scale);
        let json = serde_json::to_string(&OutputNumber(value)).unwrap();
        let back: OutputNumber = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(back.0, value);
        // An input string has at most 28 digits; zeros in front of the fraction count.
        if json.bytes().filter(u8::is_ascii_digit).count() <= 28 {
            prop_assert_eq!(read(&json).unwrap(), value);
        }
    }

    #[test]
    fn an_accepted_number_is_the_one_that_was_written(
        mantissa in -(10_i64.pow(15) - 1)..10_i64.pow(15),
        scale in 0_u32..=10,
    ) {
        let value = Decimal::new(mantissa, scale);
        // The way of a value through a client that knows only doubles.
        let double: f64 = value.to_string().parse().unwrap();
        prop_assert_eq!(read(&serde_json::to_string(&double).unwrap()).unwrap(), value);
    }

    #[test]
    fn any_text_is_answered_without_a_panic(text in "\\PC{0,40}") {
        let _ = read(&serde_json::to_string(&text).unwrap());
        let _ = read(&text);
    }
}
