//! What the tests need beyond Rust and a C compiler: what is present, what is missing, and how it gets here.
//!
//! Debian's packages are installed with `apt-get` as root or through `sudo`; no service starts, now or at the next boot.
//! The current static ffmpeg is a Python wheel in a virtual environment under `.tools/`, which touches nothing outside
//! the work tree. So is the package dvb-conformance, which is built there: it wants a newer Rust than the gateway, and is
//! not needed where the Rust is older.

use anyhow::{Context, Result, bail};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian's packages with what each is for.
const DEBIAN: [(&str, &str); 18] = [
    ("ffmpeg", "the distribution's ffmpeg: publisher and player with legacy codecs only"),
    ("gstreamer1.0-tools", "gst-launch-1.0"),
    ("gstreamer1.0-plugins-base", "GStreamer's test sources"),
    ("gstreamer1.0-plugins-good", "flvmux"),
    ("gstreamer1.0-plugins-bad", "rtmp2sink, rtmpsink, h264parse, voaacenc, tsdemux, rtpst2022-1-fecdec"),
    ("gstreamer1.0-plugins-ugly", "x264enc"),
    ("rtmpdump", "librtmp as a player"),
    ("tstools", "tsreport, which measures the clock of transport streams"),
    ("multicat", "a receiver of channels that writes down what comes"),
    ("dvblast", "a receiver of channels that takes programs apart"),
    ("vlc-bin", "VLC as a receiver of channels"),
    ("vlc-plugin-base", "its protocols, demultiplexers and decoders"),
    ("libnginx-mod-rtmp", "nginx with the RTMP module, the baseline of the benches"),
    ("prometheus", "promtool, which checks the metrics page"),
    ("iproute2", "network namespaces of the benches and of links that fail"),
    ("nftables", "links that swallow what is sent"),
    ("faketime", "libfaketime, a wall clock that jumps"),
    ("python3-venv", "the virtual environment of the static ffmpeg"),
];

/// Services among the packages (and what they pull in) that must not run on a developer's machine because of us.
const SERVICES: [&str; 3] = ["nginx", "prometheus", "prometheus-node-exporter"];

/// The wheel that carries the current static ffmpeg. Pinned: a codec round trip should change with a commit only.
const WHEEL: &str = "imageio-ffmpeg==0.8.1";

/// The program around the package dvb-conformance; its version stands in the manifest there and is the package's.
const CONFORMANCE: &str = "tests/conformance";
/// How it is listed.
const CRATE: &str = "crates.io dvb-conformance";
/// Minor version of Rust 1 that the package is written for.
const CONFORMANCE_RUST: u32 = 95;

/// One thing that the tests need.
pub struct Need {
    /// Package name, with its registry in front when it is not Debian's.
    pub name: String,
    /// What the tests use it for.
    pub purpose: &'static str,
    /// Whether it is here already.
    pub present: bool,
}

/// Everything that the tests need, each with whether it is present.
pub fn survey(root: &Path) -> Vec<Need> {
    let installed = installed_packages();
    let mut needs: Vec<Need> = DEBIAN
        .iter()
        .map(|&(name, purpose)| Need { name: name.to_owned(), purpose, present: installed.contains(name) })
        .collect();
    needs.push(Need {
        name: format!("PyPI {WHEEL}"),
        purpose: "the current static ffmpeg: every Enhanced RTMP codec",
        present: static_ffmpeg(root).is_some(),
    });
    if rust_minor().is_some_and(|minor| minor >= CONFORMANCE_RUST) {
        needs.push(Need {
            name: CRATE.to_owned(),
            purpose: "TR 101 290 by another hand: the judge of what channels send",
            present: conformance_is_current(root),
        });
    }
    needs
}

/// Whether the built program is of the version in its manifest.
fn conformance_is_current(root: &Path) -> bool {
    let manifest = std::fs::read_to_string(root.join(CONFORMANCE).join("Cargo.toml")).unwrap_or_default();
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    let output = Command::new(root.join(".tools/bin/headgate-conformance")).arg("--version").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    version
        .is_some_and(|version| said.trim() == format!("headgate-conformance {}", version.trim_matches('"')))
}

/// The toolchain's minor version.
fn rust_minor() -> Option<u32> {
    let output = Command::new("rustc").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_once("rustc 1.")?.1.split('.').next()?.parse().ok()
}

/// The static ffmpeg's executable, if the virtual environment holds the pinned one.
pub fn static_ffmpeg(root: &Path) -> Option<PathBuf> {
    let version = WHEEL.split_once("==")?.1;
    let script =
        format!("import imageio_ffmpeg as f\nassert f.__version__ == '{version}'\nprint(f.get_ffmpeg_exe())");
    let output = Command::new(venv(root).join("bin/python"))
        .args(["-c", &script])
        .env_remove("IMAGEIO_FFMPEG_EXE")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    (output.status.success() && path.is_file()).then_some(path)
}

/// Installs what is missing.
pub fn install(root: &Path, missing: &[&Need]) -> Result<()> {
    let names: Vec<&str> = missing.iter().map(|need| need.name.as_str()).collect();
    let (wheels, rest): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.starts_with("PyPI "));
    let (crates, debian): (Vec<&str>, Vec<&str>) = rest.iter().partition(|name| **name == CRATE);
    if !debian.is_empty() {
        install_debian(&debian)?;
    }
    if !wheels.is_empty() {
        install_wheel(root)?;
    }
    if !crates.is_empty() {
        install_conformance(root)?;
    }
    Ok(())
}

fn venv(root: &Path) -> PathBuf {
    root.join(".tools/venv")
}

/// Names of Debian's packages that are installed; empty where there is no dpkg.
fn installed_packages() -> HashSet<String> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Package}\n"])
        .args(DEBIAN.map(|(name, _)| name))
        .stderr(Stdio::null())
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("installed ")).map(str::to_owned).collect()
}

/// Installs with a `policy-rc.d` in place that forbids every service start, and takes it away again. A unit that came
/// with the packages is disabled as well, so that a reboot does not start it either.
const INSTALL: &str = r#"
set -eu
policy=/usr/sbin/policy-rc.d
restore() { rm -f "$policy"; if [ -e "$policy.kept" ]; then mv "$policy.kept" "$policy"; fi; }
if [ -e "$policy" ] && [ ! -e "$policy.kept" ]; then mv "$policy" "$policy.kept"; fi
trap restore EXIT
trap 'exit 130' INT TERM HUP
printf '#!/bin/sh\nexit 101\n' > "$policy"
chmod 755 "$policy"
before=" "
for service in $SERVICES; do
    if [ -e "/lib/systemd/system/$service.service" ]; then before="$before$service "; fi
done
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y --no-install-recommends "$@"
for service in $SERVICES; do
    case "$before" in *" $service "*) continue ;; esac
    if [ -e "/lib/systemd/system/$service.service" ] && command -v systemctl >/dev/null; then
        systemctl disable "$service" || true
    fi
done
"#;

fn install_debian(packages: &[&str]) -> Result<()> {
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("not a Debian system: install these by hand: {}", packages.join(" "));
    }
    let script = format!("SERVICES='{}'\n{INSTALL}", SERVICES.join(" "));
    let user = Command::new("id").arg("-u").output().context("id -u")?.stdout;
    let mut command = if user.trim_ascii() == b"0" {
        Command::new("sh")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("sh");
        sudo
    };
    command.args(["-c", &script, "install"]).args(packages).stdin(Stdio::inherit());
    let status = command.status().context("neither root nor sudo: cannot install Debian packages")?;
    if !status.success() {
        bail!("installing Debian packages failed ({status})");
    }
    Ok(())
}

fn install_wheel(root: &Path) -> Result<()> {
    let folder = venv(root);
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", WHEEL]))?;
    if static_ffmpeg(root).is_none() {
        bail!("{WHEEL} is installed but carries no ffmpeg for this machine");
    }
    Ok(())
}

/// Builds the program; what it takes for that is kept apart from the workspace's own.
fn install_conformance(root: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["install", "--quiet", "--debug", "--locked", "--force", "--path"])
        .arg(root.join(CONFORMANCE));
    command.arg("--root").arg(root.join(".tools")).arg("--target-dir").arg(root.join("target/conformance"));
    run(&mut command)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}
