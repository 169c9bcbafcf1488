//! What is wrong with a request: a status for HTTP, a code of the table, a sentence, and where.

use hyper::StatusCode;
use pulse_core::Refused;
use pulse_core::wire::ErrorCode;

use super::value::Value;

/// A request that is refused.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Error {
    pub(super) status: StatusCode,
    pub(super) code: ErrorCode,
    pub(super) message: String,
    /// The place within the request, as `requests[3].params.channel`.
    pub(super) place: Option<String>,
}

impl Error {
    pub(super) fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), place: None }
    }

    /// The request is not of the shape that it should have.
    pub(super) fn invalid(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::INVALID_FRAME, message).at(place)
    }

    /// The server cannot do it just now.
    pub(super) fn busy(message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::SERVER_ERROR, message)
    }

    pub(super) fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into()).filter(|place: &String| !place.is_empty());
        self
    }

    /// `{"error": {..}}`
    pub(super) fn to_value(&self) -> Value {
        let mut error = vec![
            ("code".to_owned(), Value::from(u64::from(self.code.0))),
            ("message".to_owned(), Value::from(&*self.message)),
        ];
        error.extend(self.place.as_ref().map(|place| ("where".to_owned(), Value::from(&**place))));
        Value::map([("error", Value::Map(error))])
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let status = match refused.code {
            ErrorCode::FORBIDDEN => StatusCode::FORBIDDEN,
            ErrorCode::PAYLOAD_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::SERVER_ERROR | ErrorCode::LIMIT_EXCEEDED => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::NOT_AVAILABLE => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, refused.code, refused.message)
    }
}
