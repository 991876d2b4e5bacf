//! Orders that belong together: nobody has built their gates yet, so none of them passes.

use super::support::{Draft, NOW, approval, facts, intent, policy};
use ibkr_agent_domain::{ErrorCode, OrderPlan, Side};
use ibkr_agent_gates::{Gate, Switches, check_plan, decide_place, screen_place};

fn plans() -> [OrderPlan; 2] {
    let exit = Draft { side: Side::Sell, ..Draft::default() }.order();
    let entry = Draft::default().order();
    [
        OrderPlan::bracket(entry.clone(), vec![exit.clone()]).unwrap(),
        OrderPlan::one_cancels_all(vec![entry, exit]).unwrap(),
    ]
}

#[test]
fn no_plan_but_a_single_order_passes_any_decision() {
    let open = Switches { halted: false, audit_writable: true };
    for plan in plans() {
        let screened = screen_place(&policy(), &plan, open).unwrap_err();
        assert_eq!(screened.code(), ErrorCode::OrderPolicyRefused);
        let checks = check_plan(&policy(), &facts(), &plan, NOW);
        let denied: Vec<Gate> =
            checks.iter().filter(|check| check.is_denied()).map(|check| check.gate).collect();
        assert_eq!(denied, [Gate::Relation]);
        let mut intent = intent(Draft::default().order(), approval(&plan.orders()[0], &facts()));
        intent.approval.plan = plan.digest();
        intent.references = vec![intent.references[0].clone(); 2];
        intent.plan = plan;
        let refused = decide_place(&policy(), &facts(), intent, NOW).unwrap_err();
        let gates: Vec<Gate> = refused.denied().map(|check| check.gate).collect();
        assert_eq!(gates, [Gate::Relation]);
    }
}

#[test]
fn an_order_without_a_reference_of_its_own_is_not_permitted() {
    let order = Draft::default().order();
    for count in [0, 2] {
        let mut intent = intent(order.clone(), approval(&order, &facts()));
        intent.references = vec![intent.references[0].clone(); count];
        let refused = decide_place(&policy(), &facts(), intent, NOW).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::ApprovalPreviewMismatch, "{count}");
    }
}
