//! How much memory the process may have, and how much of that is used.
//!
//! The bound is the configured one, or that of the process's control groups (cgroup v2 `memory.max`, v1
//! `memory.limit_in_bytes`): a container's, a systemd unit's, and those around it, a slice's, of which the one that is
//! closest to its limit counts. Against a configured bound stands what is resident; against
//! a group's what the group uses, without file pages that the kernel would give up first (`inactive_file`): that is what
//! it kills for, and socket buffers, which are no process's resident memory, are part of it.

use super::process;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Limits from here on mean none: version 1 writes the largest multiple of a page that fits 63 bits.
const UNLIMITED_BYTES: f64 = (1_u64 << 62) as f64;

/// Files of a version of control groups: limit, use, and in the statistics the file pages that are easy to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Names {
    limit: &'static str,
    used: &'static str,
    inactive_file: &'static str,
}

const V1: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    inactive_file: "total_inactive_file ",
};
const V2: Names = Names { limit: "memory.max", used: "memory.current", inactive_file: "inactive_file " };

/// Where the bound comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum MemoryBound {
    /// The configuration, in bytes.
    Configured(f64),
    /// The process's control group and those around it, as far as they can be seen.
    Groups(Vec<Group>),
    /// There is none.
    None,
}

/// A control group with memory accounting.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    folder: PathBuf,
    names: Names,
}

impl MemoryBound {
    /// The bound of this process; `configured` in bytes, 0 to look for a control group.
    pub fn find(configured: u64) -> MemoryBound {
        if configured > 0 {
            return MemoryBound::Configured(configured as f64);
        }
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let candidates = groups(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        // Where both versions are mounted, one of them has the memory controller.
        MemoryBound::of(candidates)
    }

    fn of(mut groups: Vec<Group>) -> MemoryBound {
        groups.retain(|group| group.folder.join(group.names.used).exists());
        if groups.is_empty() { MemoryBound::None } else { MemoryBound::Groups(groups) }
    }

    /// Bytes used and bytes there may be; none without a bound. Of several groups that of which most is used. They are
    /// read each time: limits can be changed while the process runs.
    ///
    /// # Errors
    /// There is no descriptor left to read with: nobody knows.
    pub fn read(&self) -> io::Result<Option<(f64, f64)>> {
        match self {
            MemoryBound::Configured(limit) => Ok(process::resident_bytes()?.map(|used| (used, *limit))),
            MemoryBound::Groups(groups) => {
                let mut tightest = None;
                for group in groups {
                    let part = |of: (f64, f64)| of.0 / of.1;
                    let read = group.read()?;
                    if read.map(part) > tightest.map(part) {
                        tightest = read;
                    }
                }
                Ok(tightest)
            }
            MemoryBound::None => Ok(None),
        }
    }
}

impl Group {
    fn read(&self) -> io::Result<Option<(f64, f64)>> {
        let number = |name| {
            let text = process::read(&self.folder.join(name))?;
            // "max" is no number.
            Ok::<_, io::Error>(text.and_then(|text| text.trim().parse::<f64>().ok()))
        };
        let Some(limit) = number(self.names.limit)?.filter(|limit| *limit < UNLIMITED_BYTES) else {
            return Ok(None);
        };
        let Some(used) = number(self.names.used)? else { return Ok(None) };
        let statistics = process::read(&self.folder.join("memory.stat"))?.unwrap_or_default();
        let inactive = process::field(&statistics, self.names.inactive_file).unwrap_or_default();
        Ok(Some(((used - inactive).max(0.0), limit)))
    }
}

/// The folders that may be the process's own group, or around that up to the mount, by `/proc/self/mountinfo` (proc(5))
/// and `/proc/self/cgroup` (cgroups(7)). In a container the path may be one of the host, which is not there: the mount
/// itself is the group then.
fn groups(mounts: &str, memberships: &str) -> Vec<Group> {
    let mut found = Vec::new();
    for mount in mounts.lines() {
        let Some((place, kind)) = mount.split_once(" - ") else { continue };
        let kind: Vec<&str> = kind.split(' ').collect();
        let names = match kind.as_slice() {
            ["cgroup2", ..] => V2,
            ["cgroup", _, options, ..] if options.split(',').any(|option| option == "memory") => V1,
            _ => continue,
        };
        let [root, point] = [3, 4].map(|field| place.split(' ').nth(field).unwrap_or_default());
        let path = memberships.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let mine = match names == V2 {
                true => controllers.is_empty(),
                false => controllers.split(',').any(|controller| controller == "memory"),
            };
            mine.then_some(path)
        });
        let below = path.and_then(|path| Path::new(path).strip_prefix(root).ok());
        // A path above the root of its namespace begins with "..", and is not to be seen from here.
        let below = below.filter(|below| !below.starts_with("..")).unwrap_or(Path::new(""));
        // The last one is "": the mount.
        let folders = below.ancestors().map(|below| match below.as_os_str().is_empty() {
            true => point.into(),
            false => Path::new(point).join(below),
        });
        found.extend(folders.map(|folder| Group { folder, names }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_where_systems_mount_them() {
        let host = "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let container = "35 24 0:30 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let old = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                   35 31 0:32 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n\
                   41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        for (mounts, memberships, expected) in [
            (
                host,
                "0::/system.slice/headgate.service\n",
                vec![
                    "/sys/fs/cgroup/system.slice/headgate.service",
                    "/sys/fs/cgroup/system.slice",
                    "/sys/fs/cgroup",
                ],
            ),
            (host, "0::/\n", vec!["/sys/fs/cgroup"]),
            (host, "0::/../other\n", vec!["/sys/fs/cgroup"]),
            (container, "0::/docker/ab/x\n", vec!["/sys/fs/cgroup/x", "/sys/fs/cgroup"]),
            (container, "0::/\n", vec!["/sys/fs/cgroup"]),
            (
                old,
                "4:memory:/a:b\n3:cpuset:/\n0::/u\n",
                vec![
                    "/sys/fs/cgroup/memory/a:b",
                    "/sys/fs/cgroup/memory",
                    "/sys/fs/cgroup/unified/u",
                    "/sys/fs/cgroup/unified",
                ],
            ),
            ("", "", vec![]),
            ("x - y\n - cgroup2\n", ":\n::\n", vec![""]),
        ] {
            let found: Vec<String> =
                groups(mounts, memberships).iter().map(|group| group.folder.display().to_string()).collect();
            assert_eq!(found, expected, "{mounts}{memberships}");
        }
    }

    #[test]
    fn a_group_counts_without_pages_that_are_easy_to_give_up() {
        for (names, stat) in [
            (V2, "anon 1\ninactive_file 300\nactive_file 7\n"),
            (V1, "inactive_file 5\ntotal_inactive_file 300\n"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
            let group = Group { folder: folder.path().to_owned(), names };
            assert_eq!(group.read().unwrap(), None, "no files");
            write(names.limit, "4000\n");
            write(names.used, "1000\n");
            assert_eq!(group.read().unwrap(), Some((1000.0, 4000.0)));
            write("memory.stat", stat);
            assert_eq!(group.read().unwrap(), Some((700.0, 4000.0)));
            for none in ["max\n", "9223372036854771712\n"] {
                write(names.limit, none);
                assert_eq!(group.read().unwrap(), None);
            }
        }
    }

    /// A unit without a limit in a slice that has one; a container's own limit that is far off, and a tight one around.
    #[test]
    fn the_tightest_group_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mount = format!("35 24 0:30 / {} rw - cgroup2 cgroup2 rw\n", folder.path().display());
        fs::create_dir_all(folder.path().join("slice/unit")).unwrap();
        let write = |group: &str, used: u32, limit: &str| {
            let group = folder.path().join(group);
            fs::write(group.join(V2.used), used.to_string()).unwrap();
            fs::write(group.join(V2.limit), limit).unwrap();
        };
        let read = || MemoryBound::of(groups(&mount, "0::/slice/unit\n")).read().unwrap();
        assert_eq!(read(), None, "nobody counts");
        write("slice/unit", 100, "max\n");
        assert_eq!(read(), None);
        write("slice", 900, "1000\n");
        assert_eq!(read(), Some((900.0, 1000.0)));
        write("slice/unit", 100, "400\n");
        assert_eq!(read(), Some((900.0, 1000.0)));
        write("slice/unit", 399, "400\n");
        assert_eq!(read(), Some((399.0, 400.0)));
    }

    #[test]
    fn a_configured_bound_is_against_what_is_resident() {
        let (used, limit) = MemoryBound::find(1 << 30).read().unwrap().unwrap();
        assert!(used > 1e6 && limit == f64::from(1 << 30), "{used}");
    }
}
