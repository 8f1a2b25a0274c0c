//! OCI image archives without a container engine: one uncompressed layer, the same bytes for the same input.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

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

/// An image to be written.
#[derive(Debug, Clone)]
pub struct Image {
    /// Name and tag, as `registry.k8s.io/pause:3.10.1`.
    pub name: String,
    /// What a container of it runs.
    pub entrypoint: Vec<String>,
    /// Its files.
    pub files: Vec<File>,
}

impl Image {
    /// An image of one statically linked program at the root.
    pub fn of_static(name: &str, program: &Path) -> Result<Self> {
        let bytes =
            std::fs::read(program).with_context(|| format!("reading {}", program.display()))?;
        let file = program
            .file_name()
            .context("a program has a file name")?
            .to_string_lossy();
        let path = format!("/{file}");
        Ok(Self {
            name: name.to_owned(),
            entrypoint: vec![path.clone()],
            files: vec![File {
                path,
                bytes,
                mode: 0o755,
            }],
        })
    }

    /// The archive that `ctr images import` takes.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let layer = self.layer()?;
        let mut blobs: Vec<(String, Vec<u8>)> = Vec::new();
        let mut put = |bytes: Vec<u8>, media: &str| -> Value {
            let digest = hex(&bytes);
            let described = json!({"mediaType": media, "digest": format!("sha256:{digest}"), "size": bytes.len()});
            blobs.push((digest, bytes));
            described
        };
        let layer = put(layer, "application/vnd.oci.image.layer.v1.tar");
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Env": ["PATH=/bin:/usr/bin"], "Entrypoint": self.entrypoint},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = put(
            serde_json::to_vec(&config)?,
            "application/vnd.oci.image.config.v1+json",
        );
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": [layer],
        });
        let mut manifest = put(
            serde_json::to_vec(&manifest)?,
            "application/vnd.oci.image.manifest.v1+json",
        );
        manifest["annotations"] = json!({"io.containerd.image.name": self.name});
        manifest["platform"] = json!({"architecture": "amd64", "os": "linux"});
        let mut archive = tar::Builder::new(Vec::new());
        add(
            &mut archive,
            "oci-layout",
            br#"{"imageLayoutVersion":"1.0.0"}"#,
            0o644,
        )?;
        for (digest, bytes) in &blobs {
            add(
                &mut archive,
                &format!("blobs/sha256/{digest}"),
                bytes,
                0o644,
            )?;
        }
        let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [manifest]}))?;
        add(&mut archive, "index.json", &index, 0o644)?;
        Ok(archive.into_inner()?)
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut folders = BTreeSet::from(["tmp".to_owned(), "etc".to_owned()]);
        for file in &self.files {
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
        let mut files: Vec<&File> = self.files.iter().collect();
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
        Image {
            name: "localhost/test:1".into(),
            entrypoint: vec!["/bin/one".into()],
            files: order
                .iter()
                .map(|&i| File {
                    path: files[i].0.into(),
                    bytes: vec![7; 3],
                    mode: files[i].1,
                })
                .collect(),
        }
    }

    #[test]
    fn the_same_files_in_any_order_make_the_same_bytes() {
        assert_eq!(
            image([0, 1]).archive().unwrap(),
            image([1, 0]).archive().unwrap()
        );
    }

    #[test]
    fn every_blob_is_named_by_its_digest() {
        let bytes = image([0, 1]).archive().unwrap();
        let mut blobs = 0;
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            if let Some(digest) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(digest, hex(&content));
                blobs += 1;
            }
        }
        assert_eq!(blobs, 3);
    }
}
