//! The code table: every number that a server sends, what it means and which test provokes it.
//!
//! Docs and the clients' tables are generated from [`ERRORS`] and [`CLOSES`] (`cargo xtask codes`).

/// One line of the table of request errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRow {
    /// The number on the wire.
    pub code: u16,
    /// Its name in every language.
    pub name: &'static str,
    /// Whether the same request may succeed later.
    pub temporary: bool,
    /// What it means, for people.
    pub text: &'static str,
    /// The test, in `pulse-native/tests`, that provokes it over a real socket.
    pub test: &'static str,
}

/// One line of the table of close codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseRow {
    /// The number on the wire.
    pub code: u16,
    /// Its name in every language.
    pub name: &'static str,
    /// What it means, for people.
    pub text: &'static str,
    /// The test, in `pulse-native/tests`, that provokes it over a real socket.
    pub test: &'static str,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $wire:literal, $temporary:literal, $text:literal, $test:literal;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)*
        }

        /// Every request error that a server sends, in rising order.
        pub const ERRORS: &[ErrorRow] = &[
            $(ErrorRow { code: $code, name: $wire, temporary: $temporary, text: $text, test: $test },)*
        ];
    };
}

macro_rules! closes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $wire:literal, $text:literal, $test:literal;)*) => {
        impl CloseCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)*
        }

        /// Every close code that a server sends, in rising order.
        pub const CLOSES: &[CloseRow] = &[
            $(CloseRow { code: $code, name: $wire, text: $text, test: $test },)*
        ];
    };
}

/// Why a request failed: the `code` of an `error` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub u16);

codes! {
    /// The frame is no request of this protocol.
    INVALID_FRAME = 1001, "invalid_frame", false,
        "the frame is no request of this protocol", "an_invalid_request_is_answered_under_its_id";
    /// The channel's name is not allowed.
    INVALID_CHANNEL = 1002, "invalid_channel", false,
        "channel names are 1 to 256 bytes of printable ASCII and do not start with $",
        "a_bad_channel_name_is_refused";
    /// The rules do not allow it.
    FORBIDDEN = 1004, "forbidden", false,
        "the rules of this namespace do not allow it", "a_namespace_that_nobody_may_use_is_forbidden";
    /// The payload is over the limit.
    PAYLOAD_TOO_LARGE = 1007, "payload_too_large", false,
        "the payload is larger than limits.max_message_size", "a_payload_over_the_limit_is_refused_and_the_connection_lives";
    /// The connection is not subscribed to this channel.
    NOT_SUBSCRIBED = 1008, "not_subscribed", false,
        "the connection is not subscribed to this channel", "leaving_a_channel_twice_is_not_subscribed";
    /// The connection is already subscribed to this channel.
    ALREADY_SUBSCRIBED = 1009, "already_subscribed", false,
        "the connection is already subscribed to this channel", "subscribing_twice_is_already_subscribed";
    /// Another part of the server, which has the channel, cannot be reached, or cannot store a publication.
    SERVER_ERROR = 1011, "server_error", true,
        "a part of the server cannot be reached, or store anything, just now; try again", "a_channel_whose_home_is_lost_is_a_server_error";
    /// The client speaks another protocol version.
    PROTOCOL_MISMATCH = 1012, "protocol_mismatch", false,
        "this server speaks protocol version 1", "another_protocol_version_is_refused_and_told_to_stay_away";
    /// A limit is reached.
    LIMIT_EXCEEDED = 1013, "limit_exceeded", true,
        "a limit is reached: unsubscribe from something first, or raise it", "a_subscription_over_the_limit_is_refused";
    /// This server does not offer it.
    NOT_AVAILABLE = 1014, "not_available", false,
        "this server or namespace does not offer it", "what_a_namespace_does_not_offer_is_not_available";
    /// The connection is not among the members.
    NOT_PRESENT = 1015, "not_present", false,
        "the connection is not present in this channel: join first", "leaving_presence_without_having_joined_is_not_present";
    /// What came after a position cannot be told any more.
    UNRECOVERABLE = 1016, "unrecoverable", false,
        "what came after this position is not kept, or there is no such position: begin anew",
        "a_position_that_history_does_not_reach_is_unrecoverable";
}

impl ErrorCode {
    /// This code's line of the table; `None` for a number that this version does not send.
    #[must_use]
    pub fn row(self) -> Option<&'static ErrorRow> {
        ERRORS.iter().find(|row| row.code == self.0)
    }

    /// The text for people; empty for a number that this version does not send.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.row().map_or("", |row| row.text)
    }
}

/// Why a connection ends. The number's range alone tells a client whether to come back.
///
/// ```
/// use pulse_core::wire::CloseCode;
/// assert!(CloseCode::SHUTDOWN.comes_back());
/// assert!(!CloseCode::MALFORMED.comes_back());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

closes! {
    /// The server stops or restarts.
    SHUTDOWN = 4000, "shutdown", "the server is shutting down", "sigterm_drains_every_client";
    /// The client takes messages more slowly than they come.
    SLOW_CONSUMER = 4001, "slow_consumer",
        "the client reads more slowly than messages come", "a_reader_that_stops_is_disconnected_as_slow";
    /// Nothing was heard of the client for `heartbeat.timeout_ms`.
    HEARTBEAT_TIMEOUT = 4002, "heartbeat_timeout",
        "nothing was heard of the client for too long", "a_silent_client_is_closed";
    /// The bytes are no frame.
    MALFORMED = 4500, "malformed", "the bytes are not a frame of this protocol", "bytes_that_are_no_frame_close_the_connection";
    /// The client speaks another protocol version.
    VERSION = 4501, "protocol_mismatch",
        "this server speaks protocol version 1", "another_protocol_version_is_refused_and_told_to_stay_away";
    /// The first frame was not `connect`, or none came in time.
    CONNECT_EXPECTED = 4502, "connect_expected",
        "the first frame has to be connect, and has to come soon", "a_client_that_does_not_connect_first_is_closed";
    /// The dialect has no messages of this kind, text or binary.
    WRONG_KIND = 4503, "wrong_kind",
        "the dialect is made of messages of the other kind, text or binary", "a_text_message_on_a_binary_dialect_closes_the_connection";
    /// The host does not let this client in.
    UNAUTHORIZED = 4504, "unauthorized",
        "the server does not let this client in; its token may be missing or wrong", "a_client_that_is_not_let_in_is_told_to_stay_away";
}

impl CloseCode {
    /// 4500 to 4999: stay away. Everything else, a transport's own codes included: come back, with backoff.
    #[must_use]
    pub fn comes_back(self) -> bool {
        !(4500..=4999).contains(&self.0)
    }

    /// This code's line of the table; `None` for a number that this version does not send.
    #[must_use]
    pub fn row(self) -> Option<&'static CloseRow> {
        CLOSES.iter().find(|row| row.code == self.0)
    }

    /// The text for a close frame or a `disconnect`; empty for a number that this version does not send.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.row().map_or("", |row| row.text)
    }
}
