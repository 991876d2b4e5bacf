//! The page about the policy names every gate and every key.

use super::tighter::keys;
use ibkr_agent_gates::Gate;

#[test]
fn the_page_about_the_policy_names_every_gate_and_every_section() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/risk-policy.md");
    let page = std::fs::read_to_string(path).unwrap();
    for gate in Gate::ALL {
        assert!(page.contains(&format!("`{}`", gate.as_str())), "{}", gate.as_str());
    }
    for key in keys() {
        // The classes of a quantity share one key; a list of names stands in the prose.
        let last = key.rsplit('.').next().unwrap_or(key);
        let named = key.starts_with("size.max_quantity.") || page.contains(last);
        let elsewhere = ["mode", "accounts", "price.slippage_percent", "price.delayed_data"];
        assert!(named || elsewhere.contains(&key), "{key}");
    }
}
