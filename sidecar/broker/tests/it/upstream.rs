//! A gateway with a WebSocket whose other end is the test: session requests are answered as a
//! ready paper login's, each connection of the stream is handed to the test.

use crate::scripted::{Act, session_answer};
use core::time::Duration;
use futures_util::{SinkExt as _, StreamExt as _};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Longest wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

type Answer = dyn Fn(&str) -> Option<Act> + Send + Sync;

/// The gateway; stops when dropped.
pub(crate) struct Upstream {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<String>>>,
    links: mpsc::UnboundedReceiver<Link>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Answers session requests; everything else is closed without an answer.
    pub(crate) async fn start() -> Self {
        Self::answering(|_| None).await
    }

    /// Asks `answer` first, with `METHOD /path`.
    pub(crate) async fn answering(
        answer: impl Fn(&str) -> Option<Act> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (hand_over, links) = mpsc::unbounded_channel();
        let answer: Arc<Answer> = Arc::new(answer);
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                connections.spawn(serve(stream, answer, log, hand_over.clone()));
            }
        });
        Self { url, seen, links, task }
    }

    /// The next connection of the stream.
    pub(crate) async fn link(&mut self) -> Link {
        timeout(PATIENCE, self.links.recv()).await.expect("a connection in time").unwrap()
    }

    /// The next connection, greeted as by a ready session, its first questions asked.
    pub(crate) async fn greeted(&mut self) -> Link {
        let mut link = self.link().await;
        link.greet();
        for topic in ["sor+", "str+", "spl+"] {
            link.expect(topic).await;
        }
        link
    }

    /// How many requests there were for this, as `METHOD /path`.
    pub(crate) fn count(&self, request: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| *seen == request).count()
    }
}

/// The upstream end of one connection; dropping it cuts the connection.
pub(crate) struct Link {
    pub(crate) heard: mpsc::UnboundedReceiver<String>,
    say: mpsc::UnboundedSender<Message>,
}

impl Link {
    /// Sends a frame as the gateway does: binary.
    pub(crate) fn say(&self, frame: &str) {
        self.say.send(Message::binary(frame.as_bytes().to_vec())).unwrap();
    }

    /// Sends a text frame, as IBKR itself does.
    pub(crate) fn say_text(&self, frame: &str) {
        self.say.send(Message::text(frame.to_owned())).unwrap();
    }

    /// The frames of a ready session.
    pub(crate) fn greet(&self) {
        self.say(r#"{"message":"waiting for session"}"#);
        self.say(r#"{"topic":"system","success":"someone","isFT":false,"isPaper":true}"#);
        self.say(r#"{"topic":"act","args":{"accounts":["DU1234567"]}}"#);
        self.say(r#"{"topic":"sts","args":{"authenticated":true,"competing":false}}"#);
    }

    /// Waits for a message that begins so, past others.
    pub(crate) async fn expect(&mut self, start: &str) -> String {
        let wait = async {
            loop {
                let message = self.heard.recv().await.expect("the connection stands");
                if message.starts_with(start) {
                    return message;
                }
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no {start} in time"))
    }

    /// Waits until the other end is gone.
    pub(crate) async fn ended(mut self) {
        let gone = async { while self.heard.recv().await.is_some() {} };
        timeout(PATIENCE, gone).await.expect("the connection ends");
    }
}

/// Lets time pass for timers, without waiting.
pub(crate) async fn jump(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<Answer>,
    log: Arc<Mutex<Vec<String>>>,
    hand_over: mpsc::UnboundedSender<Link>,
) {
    let mut buffer = Vec::new();
    loop {
        let Some((head, body)) = head(&mut stream, &mut buffer).await else {
            return;
        };
        let path: Vec<&str> = head.split([' ', '?']).take(2).collect();
        let path = path.join(" ");
        log.lock().unwrap().push(path.clone());
        drop(body);
        if path == "GET /v1/api/ws" && answer(&path).is_none() {
            let key = header(&head, "sec-websocket-key").unwrap();
            let accept = derive_accept_key(key.as_bytes());
            let switch = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            stream.write_all(switch.as_bytes()).await.unwrap();
            return converse(stream, buffer, &hand_over).await;
        }
        let act = answer(&path).or_else(|| session_answer(&path, "", "hidden"));
        match act.unwrap_or(Act::Close) {
            Act::Say(bytes) => {
                if stream.write_all(bytes.as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::SayAndClose(bytes) => return drop(stream.write_all(bytes.as_bytes()).await),
            Act::Close => return,
            Act::Hang => core::future::pending().await,
        }
    }
}

async fn converse(stream: TcpStream, rest: Vec<u8>, hand_over: &mpsc::UnboundedSender<Link>) {
    let mut socket = WebSocketStream::from_partially_read(stream, rest, Role::Server, None).await;
    let (tell, heard) = mpsc::unbounded_channel();
    let (say, mut said) = mpsc::unbounded_channel();
    if hand_over.send(Link { heard, say }).is_err() {
        return;
    }
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => drop(tell.send(text.as_str().to_owned())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            message = said.recv() => match message {
                Some(message) => {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
                None => return,
            },
        }
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// A request's head and its body.
async fn head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..at]).into_owned();
            let length = header(&head, "content-length").map_or(0, |text| text.parse().unwrap());
            if buffer.len() >= at + 4 + length {
                let rest: Vec<u8> = buffer.drain(..at + 4 + length).skip(at + 4).collect();
                return Some((head, rest));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
