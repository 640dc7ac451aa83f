//! A container runtime asked over its Unix socket: few calls of gRPC over HTTP/2, blocking, each
//! with a time limit. Used by PID 1 and by the programs that work for it.
