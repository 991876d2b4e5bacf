//! `doctor`: on the simulator without configuration, at a gateway that isn't there, at one that
//! lets everybody in, and with a store that can't be opened.

use crate::support::{Home, Ran, Server};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

/// The check of a name in the report on standard output.
fn check(ran: &Ran, name: &str) -> Value {
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e} {ran:?}"));
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|found| found["check"] == name).cloned().unwrap_or(Value::Null)
}

fn state(ran: &Ran, name: &str) -> String {
    check(ran, name)["state"].as_str().unwrap_or("absent").to_owned()
}

/// A configuration of a paper login behind a gateway.
fn broker(base_url: &str, tls: &str) -> String {
    format!(
        "broker:\n  backend: client_portal_gateway\n  base_url: {base_url}\n{tls}\
         accounts:\n  allowed: [DU1234567]\n  simulated: true\n"
    )
}

/// Something that answers every request with 401, and a preflight with the given origin.
fn gateway(allow_origin: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0_u8; 4096];
            let count = stream.read(&mut head).unwrap_or(0);
            let asked = String::from_utf8_lossy(&head[..count]).into_owned();
            let status = if asked.starts_with("OPTIONS") { "204 No Content" } else { "401 No" };
            let origin = allow_origin.filter(|_| asked.to_lowercase().contains("origin: "));
            let origin = origin.map(|origin| format!("Access-Control-Allow-Origin: {origin}\r\n"));
            let answer = format!(
                "HTTP/1.1 {status}\r\n{}Content-Length: 0\r\nConnection: close\r\n\r\n",
                origin.unwrap_or_default()
            );
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    url
}

#[test]
fn without_a_configuration_everything_is_examined_on_the_simulator() {
    let home = Home::new();
    let ran = home.json("doctor");
    assert_eq!(ran.code, 0, "{ran:?}");
    for name in
        ["configuration", "gateway", "disk", "store", "log", "log.writable", "session", "accounts"]
    {
        assert_ne!(state(&ran, name), "fail", "{name}: {ran:?}");
        assert_ne!(state(&ran, name), "absent", "{name}: {ran:?}");
    }
    for name in ["session", "accounts", "log", "store", "clock", "pacing", "kill_switch"] {
        assert_eq!(state(&ran, name), "ok", "{name}: {ran:?}");
    }
    assert_eq!(state(&ran, "isolation"), "skipped");
    assert_eq!(state(&ran, "relay"), "skipped");
    assert!(["ok", "warn"].contains(&state(&ran, "market_data").as_str()), "{ran:?}");

    let people = home.run(&["doctor"]);
    assert_eq!(people.code, 0);
    assert!(people.stdout.starts_with("ok      configuration"), "{people:?}");
    assert!(people.stdout.trim_end().ends_with("not looked at."), "{people:?}");
}

#[test]
fn a_halt_is_told_and_is_no_failure() {
    let home = Home::new();
    home.json("health").json();
    home.json("kill-switch close --reason drill").json();
    let ran = home.json("doctor");
    assert_eq!((ran.code, state(&ran, "kill_switch").as_str()), (0, "warn"), "{ran:?}");
}

#[test]
fn a_gateway_that_nobody_started_is_the_first_failure_with_its_next_step() {
    let home = Home::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = broker(&format!("https://127.0.0.1:{port}"), "");
    let path = home.file("broker.yaml", &text);
    let ran = home.json(&format!("--config {path} doctor"));
    assert_eq!(ran.code, 3, "{ran:?}");
    let reachable = check(&ran, "gateway.reachable");
    assert_eq!(reachable["code"], "BROKER_BACKEND_UNAVAILABLE");
    assert_eq!(reachable["broker"], "paper");
    assert!(reachable["next_step"].as_str().unwrap().contains("gateway run"), "{reachable}");
    assert_eq!(state(&ran, "session"), "fail");
    assert_eq!(state(&ran, "isolation"), "skipped");
    assert_eq!(state(&ran, "store"), "ok", "the rest is examined nevertheless: {ran:?}");
    let error: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(error["code"], "BROKER_BACKEND_UNAVAILABLE");
    assert!(error["user_action"].as_str().unwrap().contains("gateway run"), "{error}");
}

#[test]
fn a_gateway_that_lets_any_web_page_in_fails_and_one_that_doesnt_is_fine() {
    let examined = |allow_origin| {
        let home = Home::new();
        let path = home.file("broker.yaml", &broker(&gateway(allow_origin), ""));
        home.json(&format!("--config {path} doctor"))
    };
    for open in ["*", "https://origin.example"] {
        let ran = examined(Some(open));
        assert_eq!((ran.code, state(&ran, "isolation.origins").as_str()), (7, "fail"), "{ran:?}");
    }
    let ran = examined(None);
    assert_eq!(state(&ran, "isolation.origins"), "ok", "{ran:?}");
    assert_eq!(state(&ran, "isolation.network"), "ok", "it listens on loopback only: {ran:?}");
    // Loopback is open to all users unless this machine walls it in, which no test arranges.
    assert_eq!(state(&ran, "isolation.users"), "warn", "{ran:?}");
    assert_eq!(state(&ran, "gateway.tls"), "warn", "plain http: {ran:?}");
    assert_eq!((ran.code, state(&ran, "session").as_str()), (3, "fail"), "401: {ran:?}");
    for name in ["accounts", "market_data", "pacing"] {
        assert_eq!(state(&ran, name), "skipped", "no session, no reads: {ran:?}");
    }
}

#[test]
fn the_certificate_is_told_and_a_wrong_pin_fails_with_the_right_one() {
    let home = Home::new();
    let arguments = ["simulator", "run", "--json", "--tls", "--bind", "127.0.0.1:0"];
    let mut simulator = Server::start(&home, &arguments);
    let told = simulator.line();
    let (url, pin) = (told["base_url"].as_str().unwrap(), &told["certificate_sha256"]);
    let pin = pin.as_str().unwrap().replace(':', "").to_lowercase();
    let examined = |name: &str, tls: &str| {
        let path = home.file(name, &broker(url, tls));
        home.json(&format!("--config {path} doctor"))
    };
    let right = examined("right.yaml", &format!("  tls: {{ pin_sha256: {pin} }}\n"));
    assert_eq!(state(&right, "gateway.tls"), "ok", "{right:?}");
    assert_eq!(state(&right, "gateway.reachable"), "ok", "{right:?}");
    let none = examined("none.yaml", "");
    assert_eq!(state(&none, "gateway.tls"), "fail", "authorities never accept it: {none:?}");
    let wrong = examined("wrong.yaml", &format!("  tls: {{ pin_sha256: {} }}\n", "ab".repeat(32)));
    assert_eq!((wrong.code, state(&wrong, "gateway.tls").as_str()), (7, "fail"), "{wrong:?}");
    let next = check(&wrong, "gateway.tls");
    assert!(next["next_step"].as_str().unwrap().contains(&pin), "{next}");
    let any = examined("any.yaml", "  allow_insecure_tls_for_localhost: true\n");
    assert_eq!(state(&any, "gateway.tls"), "warn", "{any:?}");
    simulator.kill();
}

#[test]
fn a_store_that_cannot_be_opened_fails_and_what_needs_it_is_not_looked_at() {
    let home = Home::new();
    home.json("health").json();
    std::fs::write(home.state().join("store.redb"), "nonsense").unwrap();
    let ran = home.json("doctor");
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!(check(&ran, "store")["code"], "STORE_DAMAGED", "{ran:?}");
    for name in ["log", "accounts", "market_data", "pacing", "clock"] {
        assert_eq!(state(&ran, name), "skipped", "{name}: {ran:?}");
    }
}

#[test]
fn a_wrong_configuration_is_a_report_too() {
    let home = Home::new();
    let path = home.file("wrong.yaml", "broker:\n  backend: client_portal_gateway\n");
    let ran = home.json(&format!("--config {path} doctor"));
    assert_eq!(ran.code, 7, "{ran:?}");
    assert_eq!(check(&ran, "configuration")["code"], "CONFIG_MISSING_BROKER_BASE_URL", "{ran:?}");
    assert_eq!(state(&ran, "everything else"), "skipped");
}

#[test]
fn a_link_that_is_on_without_a_pairing_fails() {
    let home = Home::new();
    let text = "safety:\n  sidecar_enabled: true\nsidecar:\n  enabled: true\n";
    let path = home.file("relay.yaml", text);
    let ran = home.json(&format!("--config {path} doctor"));
    assert_eq!(ran.code, 4, "{ran:?}");
    assert_eq!(check(&ran, "relay.pairing")["code"], "SIDECAR_PAIRING_REQUIRED", "{ran:?}");
}
