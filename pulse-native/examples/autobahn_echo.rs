//! The shipping read and write path with an echo behind it, for the Autobahn suite and its like.
//!
//! Prints its port as the first line and ends when its standard input does. With two arguments, the files of a certificate
//! and its key, it speaks TLS.

#[path = "../tests/support/echo.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with the tests, which use more of it")]
mod echo;

use std::env::args_os;
use std::error::Error;
use std::io::{Read, stdin};
use std::sync::Arc;

use echo::Echo;
use pulse_native::server::{Options, Server};
use pulse_native::tls::Identity;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = args_os().skip(1);
    let tls = match (arguments.next(), arguments.next()) {
        (Some(cert), Some(key)) => Some(Arc::new(Identity::load(cert, key)?)),
        _ => None,
    };
    let options = Options { port: 0, path: "/".into(), max_message: 64 << 20, tls, ..Options::default() };
    let server = Server::bind(options)?;
    println!("{}", server.local_addr().expect("it listens on TCP").port());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (ended, end) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = stdin().read_to_end(&mut Vec::new());
            let _ = ended.send(());
        });
        let until = async { end.await.unwrap_or_default() };
        server.run(|_| Echo::default(), until).await
    })?;
    Ok(())
}
