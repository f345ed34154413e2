//! A gRPC server of unary methods on a Unix socket.

use std::{
    fs, future,
    path::{Path, PathBuf},
    task::Poll,
};

use axum::{Router, extract::Request as HttpRequest, routing::post};
use futures::stream;
use prost::Message;
use tokio::net::UnixListener;
use tonic::{Request, Response, Status, server::Grpc, service::Routes, transport::Server};
use tonic_prost::ProstCodec;

use crate::error::{Error, Result, at};

/// Methods by their paths, `/package.Service/Method`.
pub(super) struct Methods(Router);

impl Methods {
    /// None; whoever calls one that is not there is told so.
    pub(super) fn new() -> Self {
        Self(Routes::default().into_axum_router())
    }

    /// Adds a method.
    pub(super) fn method<Q, A>(
        self,
        path: &'static str,
        answer: impl Fn(&Q) -> Result<A, Status> + Clone + Send + Sync + 'static,
    ) -> Self
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let handle = move |request: HttpRequest| {
            let answer = answer.clone();
            let unary = tower::service_fn(move |request: Request<Q>| {
                let answered = answer(request.get_ref());
                if let Err(status) = &answered {
                    crate::progress::say(&format!("{path}: {}: {}", status.code(), status.message()));
                }
                future::ready(answered.map(Response::new))
            });
            async move { Grpc::new(ProstCodec::<A, Q>::default()).unary(unary, request).await }
        };
        Self(self.0.route(path, post(handle)))
    }

    /// Answers on a socket; what an earlier process left of it is replaced.
    pub(super) async fn serve(self, socket: &Path) -> Result<()> {
        let listener = listen(socket)?;
        let incoming = stream::poll_fn(move |context| match listener.poll_accept(context) {
            Poll::Ready(Ok((connection, _))) => Poll::Ready(Some(Ok(connection))),
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
            Poll::Pending => Poll::Pending,
        });
        Server::builder().add_routes(Routes::from(self.0)).serve_with_incoming(incoming).await.map_err(
            |error| Error::Command {
                command: format!("serve {}", socket.display()),
                detail: error.to_string(),
            },
        )
    }
}

fn listen(socket: &Path) -> Result<UnixListener> {
    let folder = socket.parent().map_or_else(PathBuf::new, Path::to_owned);
    fs::create_dir_all(&folder).map_err(at("create", folder))?;
    match fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(at("remove", socket)(error));
        }
        _ => {}
    }
    UnixListener::bind(socket).map_err(at("listen on", socket))
}
