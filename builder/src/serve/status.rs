//! Status codes (RFC 9110, section 15): those that we answer with.

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Status {
    /// Here it is, all of it.
    Ok = 200,
    /// Here are the parts that were asked for.
    PartialContent = 206,
    /// It is what the client has already.
    NotModified = 304,
    /// The request cannot be understood.
    BadRequest = 400,
    /// It may not be read.
    Forbidden = 403,
    /// There is nothing of this name, or it is not served.
    NotFound = 404,
    /// Neither GET nor HEAD.
    MethodNotAllowed = 405,
    /// The request did not come in time.
    RequestTimeout = 408,
    /// It is not what the client thinks it is.
    PreconditionFailed = 412,
    /// It has no bytes where they were asked for.
    RangeNotSatisfiable = 416,
    /// The request is too large.
    HeadersTooLarge = 431,
    /// It cannot be read.
    InternalError = 500,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    VersionNotSupported = 505,
}

impl Status {
    /// The number.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The words beside the number.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::PartialContent => "Partial Content",
            Self::NotModified => "Not Modified",
            Self::BadRequest => "Bad Request",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::PreconditionFailed => "Precondition Failed",
            Self::RangeNotSatisfiable => "Range Not Satisfiable",
            Self::HeadersTooLarge => "Request Header Fields Too Large",
            Self::InternalError => "Internal Server Error",
            Self::VersionNotSupported => "HTTP Version Not Supported",
        }
    }
}
