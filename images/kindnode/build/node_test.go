package build

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"sigs.k8s.io/yaml"
)

// debianTree has what furnish looks for, and little else.
func debianTree(t *testing.T) tree {
	t.Helper()
	files := map[string]string{"bin": "-> usr/bin", "lib": "-> usr/lib", "sbin": "-> usr/sbin", "usr/bin/": "", "usr/sbin/": "", "usr/lib/systemd/systemd": "systemd"}
	for _, pattern := range slices.Concat(idle, bulk) {
		files[strings.ReplaceAll(pattern, "*", "x")+"/inner"] = "unwanted"
	}
	for _, p := range append(plugins, "dhcp") {
		files["usr/lib/cni/"+p] = p
	}
	return treeOf(files)
}

func TestFurnish(t *testing.T) {
	root := debianTree(t)
	if err := furnish(root, fakeBinaries()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"usr/bin/kubelet":        "kubeall",
		"usr/bin/kubeadm":        "kubeall",
		"usr/bin/kubectl":        "kubeall",
		"usr/bin/crictl":         "kubeall",
		"usr/local/bin/nodeinit": "nodeinit",
		"sbin/init":              "systemd",
		"opt/cni/bin/ptp":        "ptp",
		"opt/cni/bin/portmap":    "portmap",
		"kind/version":           KubernetesVersion + "\n",
		"etc/machine-id":         "",
	} {
		_, e, ok := root.resolve(name)
		if !ok {
			t.Errorf("no %s", name)
		} else if got := contentOf(t, e); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	for name, e := range root {
		if e.content != nil && contentOf(t, e) == "unwanted" {
			t.Errorf("%s is still there", name)
		}
	}
	if _, _, ok := root.resolve("usr/lib/cni"); ok {
		t.Error("the plugins are there twice")
	}
	for _, unit := range []string{"containerd", "kubelet"} {
		_, e, ok := root.resolve("etc/systemd/system/multi-user.target.wants/" + unit + ".service")
		if !ok || !strings.Contains(contentOf(t, e), "ExecStart=/usr/bin/"+unit) {
			t.Errorf("%s does not start with the node", unit)
		}
	}
}

func TestFurnishRefusesASystemThatLacksSomething(t *testing.T) {
	for _, gone := range []string{"usr/lib/cni/ptp", bulk[0]} {
		root := debianTree(t)
		if err := root.remove(gone); err != nil {
			t.Fatal(err)
		}
		if err := furnish(root, fakeBinaries()); err == nil || !strings.Contains(err.Error(), filepath.Base(gone)) {
			t.Errorf("without %s: error %v, want one that names it", gone, err)
		}
	}
}

func TestPacketFilters(t *testing.T) {
	triplet := triplets["amd64"]
	lib := "usr/lib/" + triplet
	debian := treeOf(map[string]string{
		"lib64": "-> usr/lib64", "usr/lib64/ld.so": "-> /" + lib + "/ld.so", lib + "/ld.so": elfFile(t, ""),
		"usr/sbin/conntrack": elfFile(t, "/lib64/ld.so"), "usr/sbin/nft": elfFile(t, "/lib64/ld.so", "libnftables.so.1"),
		"usr/sbin/xtables-nft-multi": elfFile(t, "/lib64/ld.so"), "usr/sbin/xtables-legacy-multi": elfFile(t, "/lib64/ld.so"),
		lib + "/libnftables.so.1": elfFile(t, ""), lib + "/libm.so.6": elfFile(t, ""),
		lib + "/xtables/libxt_statistic.so": elfFile(t, "", "libm.so.6"), lib + "/xtables/libxt_alias.so": "-> libxt_statistic.so",
		lib + "/libunrelated.so": elfFile(t, ""),
	})
	got, err := packetFilters(debian, triplet)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"usr/sbin/iptables", "usr/sbin/ip6tables-restore", "usr/sbin/iptables-legacy-save", "sbin/iptables-nft", "lib64/ld.so",
		lib + "/libm.so.6", lib + "/libnftables.so.1", lib + "/xtables/libxt_statistic.so", lib + "/xtables/libxt_alias.so",
	} {
		if _, e, ok := got.resolve(name); !ok || e.content == nil {
			t.Errorf("%s is not a file", name)
		}
	}
	if _, _, ok := got.resolve(lib + "/libunrelated.so"); ok {
		t.Error("a library is there that nothing needs")
	}
	if err := debian.remove(lib + "/xtables"); err != nil {
		t.Fatal(err)
	}
	if _, err := packetFilters(debian, triplet); err == nil {
		t.Error("no error without extensions")
	}
}

func TestManifestsAreWhatKindAppliesThem(t *testing.T) {
	network, err := fs.ReadFile(rootfs, "rootfs/kind/manifests/default-cni.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range []string{"# would you kindly template this file\n", "# would you kindly patch this file\n"} {
		if !strings.Contains(string(network), request) {
			t.Errorf("the network's manifest lacks %q", request)
		}
	}
	filled, err := template.New("").Option("missingkey=error").Parse(string(network))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := filled.Execute(&out, struct{ PodSubnet string }{"10.244.0.0/16"}); err != nil {
		t.Fatal(err)
	}
	var daemons appsv1.DaemonSet
	var role rbacv1.ClusterRole
	for _, doc := range strings.Split(out.String(), "\n---\n") {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		switch kind.Kind {
		case "DaemonSet":
			err = yaml.UnmarshalStrict([]byte(doc), &daemons)
		case "ClusterRole":
			err = yaml.UnmarshalStrict([]byte(doc), &role)
		}
		if err != nil {
			t.Fatalf("%s: %v", kind.Kind, err)
		}
	}
	if len(role.Rules) != 1 || !slices.Equal(role.Rules[0].Resources, []string{"nodes"}) {
		t.Errorf("rules %v, want one for nodes", role.Rules)
	}
	if len(daemons.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("%d containers, want 1", len(daemons.Spec.Template.Spec.Containers))
	}
	container := daemons.Spec.Template.Spec.Containers[0]
	if !slices.ContainsFunc(components(), func(c component) bool { return slices.Contains(c.names, container.Image) }) {
		t.Errorf("image %s is not in the archive", container.Image)
	}
	if !slices.Contains(componentPrograms, container.Command[0]) {
		t.Errorf("command %v is not a program of the image", container.Command)
	}
	if i := slices.IndexFunc(container.Env, func(e corev1.EnvVar) bool { return e.Name == "POD_SUBNET" }); i < 0 || container.Env[i].Value != "10.244.0.0/16" {
		t.Errorf("environment %v, want the pods' range in POD_SUBNET", container.Env)
	}

	storage, err := fs.ReadFile(rootfs, "rootfs/kind/manifests/default-storage.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var class storagev1.StorageClass
	if err := yaml.UnmarshalStrict(storage, &class); err != nil {
		t.Fatal(err)
	}
	if class.Kind != "StorageClass" || class.Annotations["storageclass.kubernetes.io/is-default-class"] != "true" {
		t.Errorf("%+v is no default storage class", class)
	}
}

func TestVersionsAreThoseOfTheModule(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join("..", "kubeall", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for module, want := range map[string]string{
		"k8s.io/kubernetes":          KubernetesVersion,
		"github.com/coredns/coredns": coreDNSVersion,
		"go.etcd.io/etcd/server/v3":  "v" + etcdVersion,
	} {
		got := regexp.MustCompile(`(?m)^\t` + regexp.QuoteMeta(module) + ` (\S+)$`).FindSubmatch(mod)
		if got == nil || string(got[1]) != want {
			t.Errorf("%s is required as %q, want %s", module, got, want)
		}
	}
	config, err := fs.ReadFile(rootfs, "rootfs/etc/containerd/config.toml")
	if err != nil {
		t.Fatal(err)
	}
	if want := `sandbox_image = "registry.k8s.io/pause:` + pauseVersion + `"`; !strings.Contains(string(config), want) {
		t.Errorf("containerd's configuration lacks %s", want)
	}
}
