//! nginx as an image: Debian's program and its libraries, laid out like the image `nginx` of Docker Hub.

use std::{fs, path::Path, process::Command};

use super::Image;
use crate::{
    command,
    error::{Error, Result, at},
};

const PROGRAM: &str = "/usr/sbin/nginx";
/// What Debian's nginx.conf includes and the programs of other images rely on.
const MIME_TYPES: &str = "/etc/nginx/mime.types";

/// Serves /usr/share/nginx/html on port 80 and logs to the container's own outputs, as the image of Docker Hub does.
const CONFIGURATION: &str = "\
user nginx;
worker_processes auto;
error_log /var/log/nginx/error.log notice;
pid /run/nginx.pid;

events {
    worker_connections 1024;
}

http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log /var/log/nginx/access.log;
    sendfile on;
    keepalive_timeout 65;

    server {
        listen 80;

        location / {
            root /usr/share/nginx/html;
            index index.html index.htm;
        }
    }
}
";

impl Image {
    /// An nginx image from Debian's package, with busybox's shell and tools.
    ///
    /// # Errors
    /// A package is missing and cannot be installed.
    pub fn nginx(name: &str) -> Result<Self> {
        crate::packages::ensure(&["nginx"])?;
        let mime_types = fs::read(MIME_TYPES).map_err(at("read", MIME_TYPES))?;
        let image = Self::busybox(name)?
            .with_libraries(PROGRAM)?
            .file("etc/nginx/nginx.conf", 0o644, CONFIGURATION)
            .file("etc/nginx/mime.types", 0o644, mime_types)
            .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nnginx:x:101:101:nginx:/:/bin/false\n")
            .file("etc/group", 0o644, "root:x:0:\nnginx:x:101:\n")
            .file("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nhosts: files dns\n")
            .file("usr/share/nginx/html/index.html", 0o644, "<!DOCTYPE html><title>nginx</title>\n")
            // Folders that nginx wants to be there.
            .file("var/lib/nginx/.keep", 0o644, "")
            .file("run/.keep", 0o644, "")
            .link("var/log/nginx/access.log", "/dev/stdout")
            .link("var/log/nginx/error.log", "/dev/stderr");
        Ok(image.entrypoint(&["nginx", "-g", "daemon off;"]))
    }

    /// Adds a program of this machine and the libraries that it is linked with, each at its own path.
    fn with_libraries(self, program: &str) -> Result<Self> {
        let listed = command::run(Command::new("ldd").arg(program))?;
        let mut image = self;
        for path in libraries(&listed).chain([program]) {
            let content = fs::read(path).map_err(at("read", path))?;
            let inside = Path::new(path).strip_prefix("/").map_err(|_| Error::Format {
                path: path.into(),
                reason: format!("ldd names a library of {program} without a whole path"),
            })?;
            image = image.file(&inside.display().to_string(), 0o755, content);
        }
        Ok(image)
    }
}

/// The paths in what `ldd` prints: of the libraries, and of the loader, which has no arrow.
fn libraries(listed: &str) -> impl Iterator<Item = &str> {
    listed
        .lines()
        .filter_map(|line| line.rsplit("=> ").next())
        .filter_map(|rest| rest.split_whitespace().next())
        .filter(|path| path.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found_and_what_the_kernel_gives_is_not() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                      \tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f4d)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f4e)\n";
        let found: Vec<&str> = libraries(listed).collect();
        assert_eq!(found, ["/lib/x86_64-linux-gnu/libz.so.1", "/lib64/ld-linux-x86-64.so.2"]);
        assert_eq!(libraries("\tnot a dynamic executable\n").count(), 0);
    }

    #[test]
    fn nginx_comes_with_its_loader_its_libraries_and_a_shell() {
        let image = Image::nginx("docker.io/library/nginx:latest").unwrap();
        for path in ["usr/sbin/nginx", "bin/sh", "/libc.so.6", "etc/nginx/nginx.conf"] {
            assert!(image.files.iter().any(|(has, _)| has.ends_with(path)), "{path}");
        }
    }
}
