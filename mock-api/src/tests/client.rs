//! A client that knows just enough HTTP.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::MockApi;

pub(super) struct Answer {
    /// 0: the connection ended before one came.
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
    pub(super) reset: bool,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(super) fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line.eq_ignore_ascii_case(header))
    }
}

/// The request as written; reads until the other side closes.
pub(super) async fn raw(mock_api: &MockApi, request: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", mock_api.port())).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let reset = stream.read_to_end(&mut bytes).await.is_err();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or(("", &text));
    Answer {
        status: head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0),
        head: head.to_owned(),
        body: body.to_owned(),
        reset,
    }
}

pub(super) async fn get(mock_api: &MockApi, path: &str, token: &str) -> Answer {
    raw(
        mock_api,
        &format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUser-Agent: t\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        ),
    )
    .await
}

pub(super) async fn post(mock_api: &MockApi, path: &str, form: &str) -> Answer {
    post_as(mock_api, path, "application/x-www-form-urlencoded", form).await
}

pub(super) async fn post_as(mock_api: &MockApi, path: &str, kind: &str, body: &str) -> Answer {
    raw(
        mock_api,
        &format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUser-Agent: t\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
    .await
}
