//! A server that answers each request with given bytes, or with nothing at all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What to do with one request.
#[derive(Clone)]
pub(crate) enum Act {
    /// Send these bytes, then keep the connection.
    Say(String),
    /// Send these bytes, then close.
    SayAndClose(String),
    /// Close without a byte.
    Close,
    /// Never answer.
    Hang,
}

/// A status and a body with its length.
pub(crate) fn say(status: &str, headers: &str, body: &str) -> Act {
    Act::Say(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()))
}

/// The session's answers for paper account DU1234567, each with these extra headers.
pub(crate) fn session_answer(path: &str, headers: &str, secret: &str) -> Option<Act> {
    let body = match path {
        "POST /v1/api/tickle" => format!(
            r#"{{"session":"{secret}","iserver":{{"authStatus":{{"authenticated":true,
                "competing":false,"connected":true}}}}}}"#
        ),
        "GET /v1/api/iserver/accounts" => {
            format!(r#"{{"accounts":["DU1234567"],"isPaper":true,"sessionId":"{secret}"}}"#)
        }
        "GET /v1/api/portfolio/accounts" => {
            r#"[{"id":"DU1234567","accountId":"DU1234567","accountTitle":"T","currency":"USD",
                "type":"DEMO","tradingType":"STKNOPT"}]"#
                .to_owned()
        }
        "GET /v1/api/iserver/account/orders" => r#"{"orders":[],"snapshot":false}"#.to_owned(),
        "GET /v1/api/iserver/account/trades" => "[]".to_owned(),
        _ => return None,
    };
    Some(say("200 OK", headers, &body))
}

/// The server; stops when dropped.
pub(crate) struct Scripted {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    /// Answers session requests as a ready paper login, all others by the script, in order; when
    /// the script is used up, it closes connections.
    pub(crate) async fn start(script: impl IntoIterator<Item = Act>) -> Self {
        let script: VecDeque<Act> = script.into_iter().collect();
        let script = Arc::new(Mutex::new(script));
        Self::answering(move |path| {
            session_answer(path, "", "hidden")
                .unwrap_or_else(|| script.lock().unwrap().pop_front().unwrap_or(Act::Close))
        })
        .await
    }

    pub(crate) async fn answering(answer: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/api", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&answer), Arc::clone(&log)));
            }
        });
        Self { url, seen, task }
    }

    /// Every request, whole.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests begin with this.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.seen().iter().filter(|request| request.starts_with(start)).count()
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<impl Fn(&str) -> Act + Send + Sync>,
    log: Arc<Mutex<Vec<String>>>,
) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        let path: Vec<&str> = request.split([' ', '?']).take(2).collect();
        let path = path.join(" ");
        log.lock().unwrap().push(request);
        match answer(&path) {
            Act::Say(bytes) => {
                if stream.write_all(bytes.as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::SayAndClose(bytes) => {
                drop(stream.write_all(bytes.as_bytes()).await);
                return;
            }
            Act::Close => return,
            Act::Hang => core::future::pending().await,
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.trim().parse().unwrap());
            let end = head + 4 + length;
            if buffer.len() >= end {
                let request: Vec<u8> = buffer.drain(..end).collect();
                return Some(String::from_utf8(request).unwrap());
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
