package build

import (
	"archive/tar"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// rootfs holds the node's configuration, laid out as on the node.
//
//go:embed all:rootfs
var rootfs embed.FS

// idle lists the units that Debian enables and a node has no use for: what starts does not
// work in a container, or costs start-up time, or prints on the console.
var idle = []string{
	"etc/systemd/system/*.wants",
	"usr/lib/systemd/system/multi-user.target.wants/*",
	"usr/lib/systemd/system/timers.target.wants/*",
	"usr/lib/systemd/system/sockets.target.wants/systemd-initctl.socket",
	"usr/lib/systemd/system/sysinit.target.wants/cryptsetup.target",
	"usr/lib/systemd/system/sysinit.target.wants/veritysetup.target",
	"usr/lib/systemd/system/sysinit.target.wants/integritysetup.target",
	"usr/lib/systemd/system/sysinit.target.wants/dev-hugepages.mount",
	"usr/lib/systemd/system/sysinit.target.wants/proc-sys-fs-binfmt_misc.automount",
	"usr/lib/systemd/system/sysinit.target.wants/sys-*.mount",
	"usr/lib/systemd/system/sysinit.target.wants/systemd-binfmt.service",
	"usr/lib/systemd/system/sysinit.target.wants/systemd-firstboot.service",
	"usr/lib/systemd/system/sysinit.target.wants/systemd-machine-id-commit.service",
	"usr/lib/systemd/system/sysinit.target.wants/systemd-pcrphase*",
	"usr/lib/systemd/system/sysinit.target.wants/systemd-random-seed.service",
	"usr/lib/systemd/system/sysinit.target.wants/systemd-repart.service",
	"usr/lib/systemd/system/sysinit.target.wants/systemd-sysusers.service",
	"usr/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
}

// bulk lists what a node does without.
var bulk = []string{
	"usr/share/doc",
	"usr/share/info",
	"usr/share/lintian",
	"usr/share/locale",
	"usr/share/man",
	"usr/share/zoneinfo",
	"usr/bin/containerd-shim", // of runtimes before runc.v2
	"usr/bin/containerd-shim-runc-v1",
}

// plugins are the CNI plugins that the network uses, and loopback, which containerd does.
var plugins = []string{"host-local", "loopback", "portmap", "ptp"}

// furnish makes the Debian system t the root file system of a node.
func furnish(t tree, bin binaries) error {
	if err := t.remove(slices.Concat(idle, bulk)...); err != nil {
		return err
	}
	for _, p := range plugins {
		_, e, ok := t.resolve("usr/lib/cni/" + p)
		if !ok || e.content == nil {
			return fmt.Errorf("CNI plugin %s: %w", p, fs.ErrNotExist)
		}
		t.file("opt/cni/bin/"+p, 0o755, e.content)
	}
	if err := t.remove("usr/lib/cni"); err != nil {
		return err
	}

	t.file("usr/bin/kubeall", 0o755, bin.kubeall)
	for _, name := range nodePrograms {
		t.link("usr/bin/"+name, "kubeall")
	}
	t.file("usr/local/bin/nodeinit", 0o755, bin.nodeinit)
	t.link("usr/sbin/init", "/usr/lib/systemd/systemd")

	for _, unit := range []string{"containerd.service", "kubelet.service"} {
		t.link("etc/systemd/system/multi-user.target.wants/"+unit, "../"+unit)
	}
	// It writes to the host's table of binary formats.
	t.link("etc/systemd/system/systemd-binfmt.service", "/dev/null")

	for _, dir := range []string{"etc/cni/net.d", "etc/kubernetes/manifests", "var/lib/kubelet", "dev", "proc", "run", "sys", "var/log"} {
		t.dir(dir, 0o755)
	}
	t.dir("tmp", 0o1777)
	t.file("etc/machine-id", 0o444, text("")) // nodeinit fills it in, once for each node
	t.file("kind/version", 0o644, text(KubernetesVersion+"\n"))
	return fs.WalkDir(rootfs, "rootfs", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		doc, err := rootfs.ReadFile(p)
		if err != nil {
			return err
		}
		t.file(strings.TrimPrefix(p, "rootfs/"), 0o644, text(string(doc)))
		return nil
	})
}

// packetFilters returns the part of the Debian system that kube-proxy and the pod network
// call: iptables in both variants, nft and conntrack, with their plugins and libraries.
func packetFilters(debian tree, triplet string) (tree, error) {
	t := tree{}
	for _, dir := range []string{"bin", "lib", "lib64", "sbin"} {
		t.dir("usr/"+dir, 0o755)
		t.link(dir, "usr/"+dir)
	}
	t.dir("run", 0o755)
	t.link("var/run", "/run")

	multi := map[string]string{"nft": "xtables-nft-multi", "legacy": "xtables-legacy-multi"}
	binaries := []string{"usr/sbin/conntrack", "usr/sbin/nft", "usr/sbin/" + multi["nft"], "usr/sbin/" + multi["legacy"]}
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, verb := range []string{"", "-save", "-restore"} {
			t.link("usr/sbin/"+family+verb, multi["nft"])
			for variant, program := range multi {
				t.link("usr/sbin/"+family+"-"+variant+verb, program)
			}
		}
	}

	// iptables loads these by name, so that no program asks for them or for what they need.
	libDir := "usr/lib/" + triplet
	var extensions []string
	for name, e := range debian {
		if path.Dir(name) != libDir+"/xtables" {
			continue
		}
		switch e.kind {
		case tar.TypeSymlink:
			t.link(name, e.target)
		case tar.TypeReg:
			extensions = append(extensions, name)
		}
	}
	if len(extensions) == 0 {
		return nil, fmt.Errorf("extensions of iptables in %s/xtables: %w", libDir, fs.ErrNotExist)
	}
	slices.Sort(extensions)

	files := slices.Concat(binaries, extensions)
	libs, err := debian.libraries(files, []string{libDir, "usr/lib"})
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Concat(files, libs) {
		_, e, ok := debian.resolve(name)
		if !ok || e.content == nil {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		t.file(name, 0o755, e.content)
	}
	return t, nil
}
