package build

// What is in the image. kubeall/go.mod has the same versions; a test compares them.
const (
	// KubernetesVersion is the version that the image runs. 1.35 and later refuse hosts
	// with cgroup v1.
	KubernetesVersion = "v1.34.4"

	coreDNSVersion = "v1.13.1" // the one whose client-go is that of this Kubernetes
	etcdVersion    = "3.6.5"
	pauseVersion   = "3.10.1"

	// coreDNSWanted is the tag that kubeadm asks for. CoreDNS has it as a second name, so
	// that clusters need no option to use the version that is there.
	coreDNSWanted = "v1.12.1"

	// DefaultTag is the image's name unless Options say otherwise.
	DefaultTag = "rollout-lab/kindnode:" + KubernetesVersion

	debianSuite = "bookworm"
)

// debianPackages come on top of Debian's essential ones.
var debianPackages = []string{
	"ca-certificates",
	"conntrack",                   // kube-proxy
	"containerd",                  // 1.6: CRI, and CNI plugins at /opt/cni/bin
	"containernetworking-plugins", // ptp, host-local and portmap for podnet
	"dbus",                        // how the kubelet and runc ask systemd for groups
	"ethtool",
	"iproute2",
	"iptables",
	"kmod",
	"libseccomp2",
	"mount",
	"nftables",
	"procps",
	"runc",
	"socat", // kubectl port-forward
	"systemd",
	"util-linux",
}

// triplets are the machines that an image can be for, by GOARCH, and what Debian calls them
// in the path of libraries.
var triplets = map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}

// programs are what kubeall is called by in component images and on the node.
var (
	componentPrograms = []string{"coredns", "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "podnet"}
	nodePrograms      = []string{"crictl", "kubeadm", "kubectl", "kubelet"}
)

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
