//! What the first program gives up before it starts: resources, capabilities, new privileges, reach.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    set_capabilities, set_capabilities_secure_bits, set_no_new_privs,
};

use super::spec::Limits;
use super::sys;

/// Descriptors a program gets without asking for more; programs that walk all of them stay quick.
const FILES_SOFT: u64 = 4096;

/// Sets the resource limits. There is none for address space: Node reserves more than it ever uses.
pub(super) fn resources(limits: &Limits) -> std::io::Result<()> {
    cap(Resource::Core, 0, 0)?;
    cap(Resource::Nofile, limits.files.min(FILES_SOFT), limits.files)?;
    cap(Resource::Nproc, limits.processes, limits.processes)?;
    if let Some(bytes) = limits.file_size {
        cap(Resource::Fsize, bytes, bytes)?;
    }
    Ok(())
}

/// Never raises a limit the host has set lower.
fn cap(resource: Resource, soft: u64, hard: u64) -> std::io::Result<()> {
    let hard = getrlimit(resource).maximum.map_or(hard, |host| host.min(hard));
    Ok(setrlimit(resource, Rlimit { current: Some(soft.min(hard)), maximum: Some(hard) })?)
}

/// Gives up every capability, and every way to a new one.
pub(super) fn capabilities() -> std::io::Result<()> {
    sys::drop_bounding_set()?;
    clear_ambient_capability_set()?;
    use CapabilitiesSecureBits as Bit;
    set_capabilities_secure_bits(
        Bit::NO_ROOT
            | Bit::NO_ROOT_LOCKED
            | Bit::NO_SETUID_FIXUP
            | Bit::NO_SETUID_FIXUP_LOCKED
            | Bit::KEEP_CAPS_LOCKED
            | Bit::NO_CAP_AMBIENT_RAISE
            | Bit::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(set_no_new_privs(true)?)
}

/// Cuts off abstract sockets and signals of processes outside, where the kernel can (6.12 and later).
/// The namespaces do the same for signals, and for sockets unless the network is the host's.
pub(super) fn scopes() {
    use landlock::{CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
    let _ = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::AbstractUnixSocket | Scope::Signal)
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
}
