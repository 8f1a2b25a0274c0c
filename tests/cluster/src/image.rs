//! OCI image archives without a container engine: one uncompressed layer, the same bytes for the same input.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::linked;

/// One file of an image.
#[derive(Debug, Clone)]
pub struct File {
    /// Absolute path inside the image.
    pub path: String,
    /// Its contents.
    pub bytes: Vec<u8>,
    /// Its mode, as 0o755.
    pub mode: u32,
}

/// The user of programs that need no rights, as distroless images have it.
const NONROOT: &str = "65532:65532";
/// The processor that this machine's programs are built for, as OCI says it.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// An image to be written. Clones share their files, so that one program may carry many names and environments.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
    env: Vec<String>,
    user: &'static str,
    layer: Arc<Blob>,
}

#[derive(Debug)]
struct Blob {
    bytes: Vec<u8>,
    digest: String,
}

impl Image {
    /// An image of these files; `name` as a pod names it.
    ///
    /// # Errors
    /// When a path does not fit into an archive.
    pub fn of_files(name: &str, entrypoint: &[&str], files: &[File]) -> Result<Self> {
        let bytes = layer(files)?;
        Ok(Self {
            name: full_name(name),
            entrypoint: entrypoint.iter().map(|word| (*word).to_owned()).collect(),
            env: vec!["PATH=/bin:/usr/bin".to_owned()],
            user: "",
            layer: Arc::new(Blob {
                digest: hex(&bytes),
                bytes,
            }),
        })
    }

    /// An image of one statically linked program at the root.
    ///
    /// # Errors
    /// When the program cannot be read.
    pub fn of_static(name: &str, program: &Path) -> Result<Self> {
        let file = linked::file_of(program, "/")?;
        let path = file.path.clone();
        Self::of_files(name, &[&path], &[file])
    }

    /// An image of a program built for this machine: with the libraries that `ldd` reports, the loader, name resolution
    /// and the few files of /etc that the C library reads. Runs as user 65532.
    ///
    /// # Errors
    /// When the program or a library of it is missing.
    pub fn of_program(name: &str, program: &Path) -> Result<Self> {
        let file = linked::file_of(program, "/bin/")?;
        let path = file.path.clone();
        let mut files = linked::libraries(program)?;
        files.push(file);
        files.extend(linked::etc());
        let mut image = Self::of_files(name, &[&path], &files)?;
        image.user = NONROOT;
        Ok(image)
    }

    /// The same image under another name.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        Self {
            name: full_name(name),
            ..self.clone()
        }
    }

    /// The same image with one more variable, `NAME=value`, in its environment.
    #[must_use]
    pub fn with_env(mut self, pair: impl Into<String>) -> Self {
        self.env.push(pair.into());
        self
    }

    /// As containerd stores it: `docker.io/shop/catalogue:v1` for `shop/catalogue:v1`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The name as the kubelet asks for it: with a registry and a tag.
fn full_name(name: &str) -> String {
    let (first, rest) = name.split_once('/').unwrap_or(("", name));
    let registry = first.contains(['.', ':']) || first == "localhost";
    let mut full = match (registry, first) {
        (true, _) => name.to_owned(),
        (false, "") => format!("docker.io/library/{name}"),
        (false, _) => format!("docker.io/{name}"),
    };
    if !rest.contains(':') {
        full.push_str(":latest");
    }
    full
}

/// The archive of several images that `ctr images import` takes; equal layers are in it once.
///
/// # Errors
/// When a path does not fit into an archive.
pub fn archive(images: &[Image]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    add(&mut archive, "oci-layout", layout, 0o644)?;
    let mut written = BTreeSet::new();
    let mut put = |bytes: &[u8], digest: &str, media: &str| -> Result<Value> {
        if written.insert(digest.to_owned()) {
            add(
                &mut archive,
                &format!("blobs/sha256/{digest}"),
                bytes,
                0o644,
            )?;
        }
        Ok(json!({"mediaType": media, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
    };
    let mut manifests = Vec::new();
    for image in images {
        let layer = put(
            &image.layer.bytes,
            &image.layer.digest,
            "application/vnd.oci.image.layer.v1.tar",
        )?;
        let config = serde_json::to_vec(&json!({
            "architecture": ARCHITECTURE, "os": "linux",
            "config": {"Env": image.env, "Entrypoint": image.entrypoint, "User": image.user},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        }))?;
        let config = put(
            &config,
            &hex(&config),
            "application/vnd.oci.image.config.v1+json",
        )?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": [layer],
        }))?;
        let mut manifest = put(
            &manifest,
            &hex(&manifest),
            "application/vnd.oci.image.manifest.v1+json",
        )?;
        manifest["annotations"] = json!({"io.containerd.image.name": image.name});
        manifest["platform"] = json!({"architecture": ARCHITECTURE, "os": "linux"});
        manifests.push(manifest);
    }
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": manifests}))?;
    add(&mut archive, "index.json", &index, 0o644)?;
    Ok(archive.into_inner()?)
}

fn layer(files: &[File]) -> Result<Vec<u8>> {
    let mut folders = BTreeSet::from(["tmp".to_owned(), "etc".to_owned()]);
    for file in files {
        let parts: Vec<&str> = file.path.trim_matches('/').split('/').collect();
        for depth in 1..parts.len() {
            folders.insert(parts[..depth].join("/"));
        }
    }
    let mut layer = tar::Builder::new(Vec::new());
    for folder in folders {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(if folder == "tmp" { 0o1777 } else { 0o755 });
        header.set_size(0);
        header.set_mtime(0);
        layer.append_data(&mut header, format!("{folder}/"), std::io::empty())?;
    }
    let mut files: Vec<&File> = files.iter().collect();
    files.sort_by(|one, other| one.path.cmp(&other.path));
    for file in files {
        add(
            &mut layer,
            file.path.trim_matches('/'),
            &file.bytes,
            file.mode,
        )?;
    }
    Ok(layer.into_inner()?)
}

/// The digest as OCI writes it, in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn add(archive: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    archive
        .append_data(&mut header, path, bytes)
        .with_context(|| format!("adding {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(order: [usize; 2]) -> Image {
        let files = [("/bin/one", 0o755), ("/etc/two", 0o644)];
        let files: Vec<File> = order
            .iter()
            .map(|&i| File {
                path: files[i].0.into(),
                bytes: vec![7; 3],
                mode: files[i].1,
            })
            .collect();
        Image::of_files("localhost/test:1", &["/bin/one"], &files).unwrap()
    }

    /// Paths and contents.
    fn read(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap();
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        };
        entries.map(read).collect()
    }

    #[test]
    fn the_same_files_in_any_order_make_the_same_bytes() {
        assert_eq!(
            archive(&[image([0, 1])]).unwrap(),
            archive(&[image([1, 0])]).unwrap()
        );
    }

    #[test]
    fn every_blob_is_named_by_its_digest_and_the_layer_is_shared() {
        let one = image([0, 1]);
        let other = one.named("shop/cart:v2").with_env("ROLE=cart");
        let entries = read(&archive(&[one, other]).unwrap());
        let mut blobs = 0;
        for (path, content) in &entries {
            if let Some(digest) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(digest, hex(content));
                blobs += 1;
            }
        }
        assert_eq!(blobs, 5, "a layer, two configurations, two manifests");
        let index = &entries.iter().find(|e| e.0 == "index.json").unwrap().1;
        let index: Value = serde_json::from_slice(index).unwrap();
        let name =
            |i: usize| index["manifests"][i]["annotations"]["io.containerd.image.name"].clone();
        assert_eq!(name(0), "localhost/test:1");
        assert_eq!(name(1), "docker.io/shop/cart:v2");
    }

    #[test]
    fn names_are_completed_as_the_kubelet_does() {
        for (given, full) in [
            ("shop/cart:v1", "docker.io/shop/cart:v1"),
            ("cart", "docker.io/library/cart:latest"),
            (
                "registry.k8s.io/pause:3.10.1",
                "registry.k8s.io/pause:3.10.1",
            ),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("localhost/a/b:2", "localhost/a/b:2"),
        ] {
            assert_eq!(full_name(given), full);
        }
    }

    #[test]
    fn a_program_brings_its_libraries_and_name_resolution() {
        let program = std::env::current_exe().unwrap();
        let image = Image::of_program("test:1", &program).unwrap();
        let paths: Vec<String> = read(&image.layer.bytes).into_iter().map(|e| e.0).collect();
        for wanted in [
            "lib64/ld-linux-x86-64.so.2",
            "etc/nsswitch.conf",
            "etc/passwd",
            "tmp/",
        ] {
            assert!(
                paths.iter().any(|path| path == wanted),
                "{wanted} in {paths:?}"
            );
        }
        assert!(paths.iter().any(|path| path.ends_with("/libc.so.6")));
        assert!(paths.iter().any(|path| path.ends_with("/libresolv.so.2")));
        assert_eq!(image.user, NONROOT);
    }
}
