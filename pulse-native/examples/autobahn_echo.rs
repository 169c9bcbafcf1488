//! The shipping read and write path with an echo behind it, for the Autobahn suite and its like.
//!
//! Prints its port as the first line and ends when its standard input does.

#[path = "../tests/support/echo.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with the tests, which use more of it")]
mod echo;

use std::error::Error;
use std::io::{Read, stdin};

use echo::Echo;
use pulse_native::server::{Options, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options { port: 0, path: "/".into(), max_message: 64 << 20, ..Options::default() };
    let server = Server::bind(options)?;
    println!("{}", server.local_addr().port());
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
