//! Orders that are ungated, unrecorded, forged or repeated don't compile.

#[test]
fn forged_unrecorded_or_repeated_orders_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
