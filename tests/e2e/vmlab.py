# tests/e2e/vmlab.py - virtual machines with Debian's own kernel, for what this machine cannot show
# SPDX-License-Identifier: Apache-2.0
#
# Below: a kernel and its modules, initial file systems, disks, QEMU. Then a
# whole Debian with systemd, made of packages that are unpacked and not
# configured (a few seconds instead of minutes), and a channel into it: scripts
# go in, what they print comes out.

import base64
import glob
import hashlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading

import packages
from berth import TOP, Skip, run, wait_for

VM = os.path.join(TOP, "build", "vm")


def kernel(kind="cloud-amd64"):
    """Path and release of Debian's newest kernel of a kind."""
    if not shutil.which("qemu-system-x86_64"):
        raise Skip("qemu-system-x86 is not installed")
    found = [p for p in glob.glob(f"/boot/vmlinuz-*-{kind}") if os.path.isdir("/lib/modules/" + p.split("vmlinuz-")[1])]
    if not found:
        raise Skip(f"linux-image-{kind} is not installed")
    newest = max(found, key=lambda p: [int(n) for n in re.findall(r"\d+", p)])
    return newest, newest.split("vmlinuz-")[1]


def add_modules(tree, release, *names):
    """Modules and what they depend on into tree/modules; their names in the order of loading."""
    os.makedirs(os.path.join(tree, "modules"), exist_ok=True)
    order = []
    for name in names:
        for path in re.findall(r"^insmod (\S+)", run("modprobe", "-S", release, "--show-depends", name).stdout, re.M):
            if os.path.basename(path) not in order:
                shutil.copy(path, os.path.join(tree, "modules"))
                order.append(os.path.basename(path))
    return order


def libraries(path):
    return re.findall(r"(/\S+) \(0x", run("ldd", path, check=False).stdout)


def add_program(tree, path, to=None):
    """A program of this machine, and the libraries that it is linked with."""
    for source, target in [(path, to or path)] + [(library, library) for library in libraries(path)]:
        target = os.path.join(tree, target.lstrip("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.exists(target):
            shutil.copy(source, target)


def write(tree, path, text, mode=0o644):
    path = os.path.join(tree, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


def make_initrd(tree, path):
    with open(path, "wb") as out:
        find = subprocess.Popen(["find", "."], cwd=tree, stdout=subprocess.PIPE)
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, stdin=find.stdout, stdout=out, check=True)
        find.wait()


DISK_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
for m in MODULES; do /bin/busybox insmod /modules/$m; done
/bin/busybox mount -t ext4 /dev/vda /root
LAST
exec /bin/busybox switch_root /root PROGRAM
"""


def make_disk_initrd(work, release, modules, program, last=":", path=None):
    """An initial file system that loads modules and hands over to a program of the disk."""
    tree = os.path.join(work, "initrd-tree")
    for name in ("bin", "proc", "sys", "dev", "root"):
        os.makedirs(os.path.join(tree, name))
    shutil.copy(shutil.which("busybox"), os.path.join(tree, "bin/busybox"))
    text = DISK_INIT.replace("MODULES", " ".join(add_modules(tree, release, *modules)))
    write(tree, "init", text.replace("LAST", last).replace("PROGRAM", program), 0o755)
    make_initrd(tree, path or os.path.join(work, "initrd.cpio"))
    shutil.rmtree(tree)


def add_busybox(tree, *but):
    """Busybox with all its applets, except some."""
    busybox = shutil.which("busybox")
    os.makedirs(os.path.join(tree, "bin"), exist_ok=True)
    shutil.copy(busybox, os.path.join(tree, "bin/busybox"))
    for applet in run(busybox, "--list").stdout.split():
        if not os.path.lexists(f"{tree}/bin/{applet}") and applet not in but:
            os.symlink("busybox", f"{tree}/bin/{applet}")


PYTHON = "/usr/lib/python3.11"
PYTHON_LEFT_OUT = ("idlelib", "lib2to3", "ensurepip", "distutils", "pydoc_data", "tkinter", "turtledemo", "unittest",
                   "dist-packages", "asyncio", "email", "xml", "sqlite3", "test", "wsgiref", "xmlrpc")


def add_python(tree):
    """Its standard library, as far as tests in a machine need it, and the libraries of that."""
    shutil.copytree(PYTHON, tree + PYTHON, ignore=shutil.ignore_patterns("config-*", "_sysconfig*", *PYTHON_LEFT_OUT))
    for name in os.listdir(PYTHON + "/lib-dynload"):
        add_program(tree, f"{PYTHON}/lib-dynload/{name}")


def make_disk(tree, path, mib):
    run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, path, f"{mib}M")


def accelerator():
    """The processor's own virtualisation, if it is there and not only the device."""
    flags = open("/proc/cpuinfo").read()
    if os.access("/dev/kvm", os.R_OK | os.W_OK) and re.search(r"\b(vmx|svm)\b", flags):
        return "kvm"
    return "tcg,thread=single,tb-size=256"


# One thread, and one processor unless more are asked for: with threads, QEMU 7.2's emulation may go on for ever to run
# the breakpoint that the kernel sets for a moment where it patches its code for all processors. One boot in 100 ended
# so on a busy machine, without a word.
def qemu(kernel, initrd, log, *more, append="", memory=768, processors=1):
    """The command line of a machine that has nothing but these."""
    mhz = re.search(r"^cpu MHz\s*: ([\d.]+)", open("/proc/cpuinfo").read(), re.M)
    khz = int(float(mhz[1]) * 1000) if mhz else 2000000  # a busy machine measures it wrongly
    return ["qemu-system-x86_64", "-machine", "q35", "-accel", accelerator(), "-cpu", "max", "-smp", str(processors),
            "-m", str(memory), "-nodefaults", "-display", "none", "-kernel", kernel, "-initrd", initrd,
            "-serial", f"file:{log}", *more, "-append",
            f"console=ttyS0 quiet panic=-1 no_timer_check tsc_early_khz={khz} tsc=reliable mitigations=off "
            f"random.trust_cpu=on audit=0 sysctl.kernel.hung_task_timeout_secs=40 {append}"]


def run_disk(work, kernel, timeout, processors=1):
    """Boot initrd.cpio and disk of 'work' and wait, at most 'timeout' s, for the end; what it printed."""
    serial = work + "/serial.log"
    argv = qemu(kernel, work + "/initrd.cpio", serial, "-no-reboot", "-drive",
                f"file={work}/disk,if=virtio,format=raw,cache=unsafe", processors=processors)
    try:
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                       timeout=timeout, check=True)
    except subprocess.TimeoutExpired:
        print(f"not ok vm: still running after {timeout} s")
    except subprocess.CalledProcessError as e:
        print(f"not ok vm: {e.stderr.decode()}")
    return open(serial, errors="replace").read().replace("\r", "") if os.path.exists(serial) else ""


# ---- Debian with systemd ----

PACKAGES = """libc-bin hostname systemd-sysv udev dbus apparmor bash coreutils dash findutils grep sed gawk util-linux procps kmod iproute2
 nftables make docker-registry libmicrohttpd12 libuv1 libjansson4 libsqlite3-0 libgnutls30 libcurl3-gnutls libinih1
 libarchive13 libldns3 libisal2 libzstd1 libnl-3-200 libnl-route-3-200 base-files base-passwd""".split()
LEFT_OUT = "perl perl-base perl-modules-5.36 libperl5.36 usrmerge debconf".split()  # nobody configures here
DRIVERS = "virtio_pci virtio_blk virtio_console virtio_net".split()
MODULES = "net crypto lib fs/overlayfs fs/quota fs/xfs drivers/net/veth.ko drivers/net/tun.ko drivers/block/loop.ko".split()
MASKED = ("getty@tty1 serial-getty@ttyS0 systemd-logind systemd-pstore systemd-timesyncd systemd-networkd"
          " systemd-networkd.socket systemd-networkd-wait-online systemd-network-generator docker-registry fstrim.timer"
          " e2scrub_all.timer dpkg-db-backup.timer apparmor nftables systemd-update-utmp systemd-update-utmp-runlevel"
          " systemd-udevd systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger").split()
DISK_MIB = 640

# One line in is one script: how many seconds it has, and base64. Out goes its exit code, the size of what it
# printed, and that.
CHANNEL = """#!/bin/bash
exec 3<>/dev/vport0p1
echo ready >&3
while read -r seconds script <&3; do
	base64 -d <<<"$script" >/run/channel.script
	timeout -k 1 "$seconds" bash /run/channel.script >/run/channel.output 2>&1 </dev/null
	echo "$? $(stat -c %s /run/channel.output)" >&3
	cat /run/channel.output >&3
done
"""

# QEMU's own network: who is connected to from outside sees 10.0.2.2.
# Of a registry within a machine, from its second disk.
REGISTRY = """version: 0.1
log: {level: error}
storage:
  filesystem: {rootdirectory: /mnt/registry}
  maintenance: {uploadpurging: {enabled: false}}
http: {addr: "127.0.0.1:5000"}
"""

ADDRESS_UNIT = """[Unit]
Description=Address of this machine
Before=network.target
Wants=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link set eth0 up
ExecStart=ip address add 10.0.2.15/24 dev eth0
ExecStart=ip route add default via 10.0.2.2

[Install]
WantedBy=multi-user.target
"""

CHANNEL_UNIT = """[Unit]
Description=Scripts from outside
After=multi-user.target

[Service]
ExecStart=/usr/local/sbin/channel
Restart=always
Environment=PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

[Install]
WantedBy=multi-user.target
"""

# What maintainer scripts would do, as far as this machine's work needs it.
SETTLE = """set -e
export PATH=/usr/sbin:/usr/bin
cp /usr/share/base-passwd/passwd.master /etc/passwd
cp /usr/share/base-passwd/group.master /etc/group
echo host >/etc/hostname
echo '/dev/vda / ext4 defaults 0 0' >/etc/fstab
printf '127.0.0.1 localhost\\n127.0.1.1 host\\n' >/etc/hosts
echo 0123456789abcdef0123456789abcdef >/etc/machine-id
ln -s /run /var/run
ln -s /run/lock /var/lock
ldconfig
systemd-sysusers
systemctl preset-all >/dev/null 2>&1
systemctl enable channel address
systemctl mask $1
"""


def download(directory):
    """The packages and what they depend on, as if nothing were installed; from the configured mirror."""
    os.makedirs(os.path.join(directory, "partial"))
    open(os.path.join(directory, "status"), "w").close()
    argv = ["apt-get", "-qq", "-y", "-o", f"Dir::State::status={directory}/status", "-o",
            f"Dir::Cache::archives={directory}", "-o", "APT::Install-Recommends=false", "-o", "APT::Sandbox::User=root",
            "--download-only", "install", *PACKAGES]
    if run(*argv, check=False, timeout=600).returncode:  # no lists, or old ones
        run("apt-get", "-qq", "update", timeout=600)
        run(*argv, timeout=600)
    return [p for p in sorted(glob.glob(os.path.join(directory, "*.deb")))
            if os.path.basename(p).split("_")[0] not in LEFT_OUT]


def make_debian(tree, release, debs):
    packages.unpack(debs, tree)
    for name in MODULES:
        source = f"/lib/modules/{release}/kernel/{name}"
        target = os.path.join(tree, "lib/modules", release, "kernel", name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, target)
    for name in ("builtin", "order", "builtin.modinfo"):
        shutil.copy(f"/lib/modules/{release}/modules.{name}", os.path.join(tree, "lib/modules", release))
    run("depmod", "-b", tree, release)
    write(tree, "usr/local/sbin/channel", CHANNEL, 0o755)
    write(tree, "etc/systemd/system/channel.service", CHANNEL_UNIT)
    write(tree, "etc/systemd/system/address.service", ADDRESS_UNIT)
    run("chroot", tree, "/bin/sh", "-c", SETTLE, "settle", " ".join(MASKED))


making = threading.Lock()


def make_kept(target, release):
    shutil.rmtree(VM, ignore_errors=True)  # older ones
    os.makedirs(VM)
    work = tempfile.mkdtemp(prefix="making-", dir=VM)
    make_debian(os.path.join(work, "tree"), release, download(os.path.join(work, "debs")))
    make_disk(os.path.join(work, "tree"), os.path.join(work, "disk"), DISK_MIB)
    make_disk_initrd(work, release, DRIVERS, "/sbin/init",  # systemd finds /dev as it is
                     "/bin/busybox umount /proc /sys; /bin/busybox mount --move /dev /root/dev",
                     os.path.join(work, "initrd"))
    for name in ("tree", "debs"):
        shutil.rmtree(os.path.join(work, name))
    os.rename(work, target)


def debian():
    """Kernel, initial file system and disk of a Debian; made once for what goes into it, then kept."""
    vmlinuz, release = kernel()
    with open(__file__, "rb") as f:
        key = hashlib.sha256(f.read() + release.encode()).hexdigest()[:16]
    target = os.path.join(VM, "debian-" + key)
    with making:
        if not os.path.exists(target):
            make_kept(target, release)
    return vmlinuz, os.path.join(target, "initrd"), os.path.join(target, "disk")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Guest:
    """A running machine with a channel into it, like CHANNEL; 'inside': words that start QEMU in another namespace."""

    def __init__(self, vmlinuz, initrd, *devices, append="", memory=1024, inside=()):
        os.makedirs(VM, exist_ok=True)
        self.dir = tempfile.mkdtemp(prefix="guest-", dir=VM)
        self.log = os.path.join(self.dir, "console")
        path = os.path.join(self.dir, "channel")
        self.process = subprocess.Popen(
            [*inside, *qemu(vmlinuz, initrd, self.log,  # the channel is first: vport0p1
                            "-device", "virtio-serial-pci", "-chardev", f"socket,id=c,path={path},server=on,wait=off",
                            "-device", "virtserialport,chardev=c,name=channel", "-device", "virtio-rng-pci", *devices,
                            append=f"net.ifnames=0 {append}", memory=memory)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env=dict(os.environ, TMPDIR=self.dir))
        self.channel = socket.socket(socket.AF_UNIX)
        self.silent = False
        try:
            self.connect(path)
        except BaseException:
            self.end()
            raise

    def connect(self, path):
        def listens():  # the path is there a moment before somebody listens at it
            return self.process.poll() is not None or self.channel.connect_ex(path) == 0
        wait_for(listens, 30, "QEMU")
        if self.process.poll() is not None:
            raise AssertionError(f"QEMU: {self.process.stderr.read()}")
        self.input = self.channel.makefile("rb")
        self.wait_ready()

    def wait_ready(self, seconds=300):
        self.channel.settimeout(seconds)
        try:
            while (line := self.input.readline()) != b"ready\n":  # others: of scripts that ended with the machine
                if not line:
                    raise AssertionError(f"QEMU: {self.process.communicate()[1]}\n{self.console()[-3000:]}")
        except TimeoutError:
            raise AssertionError(f"the machine did not start in {seconds} s\n{self.console()[-3000:]}") from None

    def send(self, script, seconds):
        self.channel.sendall(b"%d %s\n" % (seconds, base64.b64encode(script.encode())))

    def reboot(self):
        self.send("systemctl --no-block reboot", 60)
        self.wait_ready()

    def sh(self, script, check=True, seconds=120):
        """What a script prints; check: it must end with 0."""
        if self.silent:
            raise AssertionError(f"{script}: not tried, the machine is silent")
        self.channel.settimeout(seconds + 60)
        self.send(script, seconds)
        try:
            code, size = map(int, self.input.readline().split())
            output = self.input.read(size).decode(errors="replace")
        except TimeoutError:  # what is read after that belongs to nobody
            self.silent = True
            raise AssertionError(f"{script}: no answer in {seconds + 60} s\n{self.console()[-6000:]}") from None
        if check and code:
            raise AssertionError(f"{script}: exit {code}: {output}")
        return output

    def console(self):
        with open(self.log, errors="replace") as f:
            return f.read().replace("\r", "")

    def end(self):
        """Twice is fine."""
        self.process.kill()
        self.process.wait()
        self.channel.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def debian_guest(extra_disk, ports=(), data_disks=(), memory=1024):
    """A Debian. Nothing that it writes to its disks stays; its ports are reached by self.ports."""
    vmlinuz, initrd, disk = debian()
    here = {port: free_port() for port in ports}
    forward = "".join(f",hostfwd=tcp:127.0.0.1:{outer}-:{inner}" for inner, outer in here.items())
    data = [word for path in data_disks
            for word in ("-drive", f"file={path},if=virtio,format=raw,cache=unsafe,snapshot=on")]
    guest = Guest(vmlinuz, initrd, "-drive", f"file={disk},if=virtio,format=raw,cache=unsafe,snapshot=on",
                  "-drive", f"file={extra_disk},if=virtio,format=raw,cache=unsafe,read-only=on", *data,
                  "-netdev", "user,id=n,restrict=on" + forward, "-device", "virtio-net-pci,netdev=n",
                  memory=memory)
    guest.ports = here
    return guest


if __name__ == "__main__":
    try:
        debian()
    except Skip as reason:  # each suite says so of itself
        print(reason)
