//! Answers to placements, in every form that was documented or seen.

use super::*;
use ibkr_agent_domain::Timestamp;

fn place(status: u16, body: &str) -> Placement {
    let answer = Answer {
        status,
        body: body.to_owned().into(),
        sent_at: Timestamp::from_millis(0),
        retry_after: None,
    };
    placement(&answer, &ClientOrderId::parse("ia1").unwrap())
}

fn words_of(placement: Placement) -> String {
    let Placement::Rejected(Some(text)) = placement else { panic!("{placement:?}") };
    text.to_string()
}

#[test]
fn an_accepted_order_is_placed_as_array_or_object_and_named_by_any_echo() {
    for row in [
        r#"{"order_id":"77","local_order_id":"ia1","order_status":"PreSubmitted"}"#,
        r#"{"order_id":77,"order_ref":"ia1","order_status":"PreSubmitted"}"#,
        r#"{"order_id":"77","cOID":"ia1","order_status":"PreSubmitted"}"#,
        // IBKR's own example echoes no reference.
        r#"{"order_id":"77","order_status":"PreSubmitted","encrypt_message":"1"}"#,
    ] {
        for body in [row.to_owned(), format!("[{row}]"), format!("[null,{row}]")] {
            let Placement::Placed { order_id, status, .. } = place(200, &body) else {
                panic!("{body}")
            };
            assert_eq!(order_id.as_str(), "77");
            assert_eq!(status, BrokerOrderStatus::PreSubmitted);
        }
    }
}

#[test]
fn a_row_is_ours_by_its_reference_wherever_it_stands() {
    let ours = r#"{"order_id":"77","local_order_id":"ia1","order_status":"Submitted"}"#;
    let child = r#"{"order_id":"78","parent_order_id":"70","order_status":"Inactive"}"#;
    let other = r#"{"order_id":"79","local_order_id":"ia2","order_status":"Submitted"}"#;
    let failed = r#"{"order_id":"-1","order_status":"Failed","text":"Invalid price"}"#;
    for body in [
        format!("[{child},{ours}]"),
        format!("[{other},{ours},{child}]"),
        format!("[{failed},{ours}]"),
        format!("[{ours},{failed}]"),
    ] {
        let Placement::Placed { order_id, .. } = place(200, &body) else { panic!("{body}") };
        assert_eq!(order_id.as_str(), "77", "{body}");
    }
    let question = r#"{"id":"q","message":["Sure?"]}"#;
    for body in [
        format!("[{child}]"),
        format!("[{other}]"),
        format!("[{other},{failed}]"),
        format!("[{failed},{child}]"),
        format!("[{other},{question}]"),
        format!("[{question},{question}]"),
        format!("[{failed},{failed}]"),
        format!("[{ours},{}]", ours.replace("77", "80")),
        format!("[{failed},7]"),
    ] {
        assert!(matches!(place(200, &body), Placement::Unknown(_)), "{body}");
    }
}

#[test]
fn an_order_that_the_broker_holds_is_told_as_held() {
    let body = r#"[{"order_id":"77","local_order_id":"ia1","order_status":"Inactive",
        "text":"Order held while securities are located."}]"#;
    let Placement::Placed { status, text, .. } = place(200, body) else { panic!("not placed") };
    assert_eq!(status, BrokerOrderStatus::Inactive);
    assert_eq!(text.unwrap().as_str(), "Order held while securities are located.");
}

#[test]
fn an_order_that_failed_is_rejected_in_the_brokers_words_or_in_none() {
    let failed =
        r#"[{"order_id":"77","local_order_id":"ia1","order_status":"Failed","text":"no"}]"#;
    assert_eq!(words_of(place(200, failed)), "no");
    let silent = r#"[{"order_id":"-1","order_status":"Failed"}]"#;
    assert_eq!(place(200, silent), Placement::Rejected(None));
}

#[test]
fn a_question_keeps_its_exact_text() {
    let body = r#"[{"id":"a1-b2","message":[" Are you\n<b>sure</b>? "],"isSuppressed":false,
        "messageIds":["o163"],"messageOptions":["Yes","No"]}]"#;
    let Placement::Question(question) = place(200, body) else { panic!("no question") };
    assert_eq!(question.messages, [" Are you\n<b>sure</b>? "]);
    assert_eq!(question.message_ids, ["o163"]);
    assert_eq!(question.reply_id, "a1-b2");
}

#[test]
fn a_question_in_plain_text_is_a_question() {
    let body = r#"[{"id":"a1","message":" Sure? ","messageIds":"o163"}]"#;
    let Placement::Question(question) = place(200, body) else { panic!("no question") };
    assert_eq!(question.messages, [" Sure? "]);
    assert_eq!(question.message_ids, ["o163"]);
}

#[test]
fn a_prompt_keeps_its_text_and_the_order_that_it_is_about() {
    let object = r#"{"orderId":987654,"reqId":"22170","dismissable":[],"text":"Use it?\n",
        "options":["Use on this order","Do not use"],"type":"M","messageId":"p12","prompt":true}"#;
    for body in [object.to_owned(), format!("[{object}]")] {
        let Placement::Prompted(prompt) = place(200, &body) else { panic!("{body}") };
        assert_eq!(prompt.order_id.unwrap().as_str(), "987654");
        assert_eq!(prompt.request_id.as_deref(), Some("22170"));
        assert_eq!(prompt.message_id.unwrap().as_str(), "p12");
        assert_eq!(prompt.text, "Use it?\n");
        assert_eq!(prompt.options, ["Use on this order", "Do not use"]);
    }
}

#[test]
fn a_repeated_reference_is_never_a_rejection() {
    let body =
        r#"{"error":"Order couldn't be submitted: Local order ID=ia1 is already registered."}"#;
    assert_eq!(place(200, body), Placement::AlreadyRegistered);
    assert_eq!(place(400, body), Placement::AlreadyRegistered);
}

#[test]
fn refusals_are_rejections_with_the_brokers_reason() {
    for (status, body, expected) in [
        (200, r#"{"error":"No trading permissions."}"#, "No trading permissions."),
        (200, r#"[{"error":"No trading permissions."}]"#, "No trading permissions."),
        (400, r#"{"error":"Unknown order type"}"#, "Unknown order type"),
        (404, r#"{"error":"No such account"}"#, "No such account"),
        (
            400,
            r#"{"type":"/invalid-argument","title":"Bad Request","status":400,
                "detail":"Input validation failed"}"#,
            "Input validation failed",
        ),
        (200, r#"[{"order_id":"-1","order_status":"Failed","text":"no"}]"#, "no"),
        (
            400,
            r#"{"error":"Bad Request: Please query /accounts first"}"#,
            "Bad Request: Please query /accounts first",
        ),
        (500, r#"{"error":"Please query /accounts first"}"#, "Please query /accounts first"),
        (
            500,
            r#"{"error":"invalid order attribute : All or None"}"#,
            "invalid order attribute : All or None",
        ),
        (500, r#"{"error":"Can not contain field # 8089"}"#, "Can not contain field # 8089"),
    ] {
        assert_eq!(words_of(place(status, body)), expected, "{status} {body}");
    }
}

#[test]
fn what_is_turned_away_is_told_in_our_words_never_in_the_brokers() {
    for (status, body, expected) in [
        (401, "", NotSent::LoggedOut),
        (401, r#"{"error":"not authenticated"}"#, NotSent::LoggedOut),
        (403, "<html>Access Denied</html>", NotSent::AccessDenied),
        (404, "Access Denied", NotSent::AccessDenied),
        (411, "", NotSent::LengthRequired),
        (429, "Too Many Requests", NotSent::BrokerBusy),
    ] {
        assert_eq!(place(status, body), Placement::NotSent(expected), "{status} {body}");
    }
}

#[test]
fn every_doubt_is_unknown_for_a_reason() {
    use UnknownBecause as U;
    let ours = r#"{"order_id":"7","local_order_id":"ia1","order_status":"Submitted"}"#;
    let twins = format!("[{ours},{}]", ours.replace('7', "8"));
    let nameless = r#"[{"order_id":"7","order_status":"Submitted"},{"order_id":"8"}]"#;
    for (status, body, expected) in [
        (200, "", U::AnswerNotUnderstood),
        (200, "[]", U::AnswerEmpty),
        (200, "<html>", U::AnswerNotUnderstood),
        (200, "null", U::AnswerNotUnderstood),
        (200, "{}", U::AnswerNotUnderstood),
        (200, "[7]", U::AnswerNotUnderstood),
        (200, r#"[{"order_status":"Submitted"}]"#, U::AnswerNotUnderstood),
        (200, r#"[{"order_id":"7","local_order_id":"other"}]"#, U::AnswerNamesAnotherOrder),
        (200, &twins, U::AnswerNamesTwins),
        (200, nameless, U::AnswerNamesNoOrder),
        (200, r#"[{"order_id":"../7","order_status":"Submitted"}]"#, U::OrderIdNotUnderstood),
        (200, r#"[{"id":"../x","message":["m"]}]"#, U::AnswerNotUnderstood),
        (200, r#"[{"id":"x","message":[]}]"#, U::AnswerNotUnderstood),
        (200, r#"[{"id":"x","message":[{"text":"m"}]}]"#, U::AnswerNotUnderstood),
        (200, r#"{"orderId":1,"reqId":"2","prompt":true}"#, U::AnswerNotUnderstood),
        (200, r#"{"orderId":1,"reqId":"2","text":"t"}"#, U::AnswerNotUnderstood),
        (400, "<html>", U::AnswerNotUnderstood),
        (400, r#"{"error":"reply id not found: 'x'"}"#, U::QuestionGone),
        (408, "", U::TimedOutUpstream),
        (500, "", U::ServerError),
        (500, r#"{"error":"x"}"#, U::ServerError),
        (503, r#"{"error":"Service Unavailable","statusCode":503}"#, U::ServerError),
        (503, r#"{"error":"Please query /accounts first"}"#, U::ServerError),
        (302, "", U::UnexpectedStatus),
    ] {
        assert_eq!(place(status, body), Placement::Unknown(expected), "{status} {body}");
    }
}
