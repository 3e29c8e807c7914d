package build

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func fakeBinaries() binaries {
	return binaries{kubeall: text("kubeall"), nodeinit: text("nodeinit"), pause: text("pause")}
}

func archiveOf(t *testing.T) []byte {
	t.Helper()
	filters := treeOf(map[string]string{"usr/sbin/xtables-nft-multi": "filters"})
	var out bytes.Buffer
	if err := writeArchive(&out, t.TempDir(), "amd64", components(), componentLayers(fakeBinaries(), filters)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// unpacked reads an archive back as an OCI layout.
func unpacked(t *testing.T, archive []byte) layout.Path {
	t.Helper()
	dir := t.TempDir()
	for name, e := range readBack(t, archive) {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if e.content == nil {
			if err := os.MkdirAll(to, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, []byte(contentOf(t, e)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestArchivesOfTheSameFilesAreTheSame(t *testing.T) {
	first, second := archiveOf(t), archiveOf(t)
	if !bytes.Equal(first, second) {
		t.Error("two archives of the same images differ")
	}
}

func TestArchiveHasEveryImageAndEveryLayerOnce(t *testing.T) {
	p := unpacked(t, archiveOf(t))
	index, err := p.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	// Fast, for the slow way to look at layers takes all of them for compressed.
	if err := validate.Index(index, validate.Fast); err != nil {
		t.Errorf("not a valid index: %v", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	images := map[string]v1.Image{}
	layers := map[string][]string{} // images by layer
	for _, d := range manifest.Manifests {
		name := d.Annotations[nameAnnotation]
		img, err := p.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		images[name] = img
		ls, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range ls {
			digest, err := l.Digest()
			if err != nil {
				t.Fatal(err)
			}
			layers[digest.String()] = append(layers[digest.String()], name)
		}
	}
	want := []string{
		"localhost/podnet:v1",
		"registry.k8s.io/coredns/coredns:" + coreDNSVersion,
		"registry.k8s.io/coredns/coredns:" + coreDNSWanted,
		"registry.k8s.io/etcd:" + etcdVersion + "-0",
		"registry.k8s.io/kube-apiserver:" + KubernetesVersion,
		"registry.k8s.io/kube-controller-manager:" + KubernetesVersion,
		"registry.k8s.io/kube-proxy:" + KubernetesVersion,
		"registry.k8s.io/kube-scheduler:" + KubernetesVersion,
		"registry.k8s.io/pause:" + pauseVersion,
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(images)); !slices.Equal(got, want) {
		t.Errorf("images\n%v, want\n%v", got, want)
	}
	if len(layers) != 3 {
		t.Errorf("%d layers %v, want 3: the programs, the packet filters and pause", len(layers), layers)
	}
	for _, tt := range []struct{ image, path, want string }{
		{"registry.k8s.io/kube-proxy:" + KubernetesVersion, "usr/sbin/xtables-nft-multi", "filters"},
		{"registry.k8s.io/kube-proxy:" + KubernetesVersion, "usr/local/bin/kube-proxy", "kubeall"},
		{"registry.k8s.io/etcd:" + etcdVersion + "-0", "usr/local/bin/etcd", "kubeall"},
		{"localhost/podnet:v1", "usr/local/bin/podnet", "kubeall"},
		{"registry.k8s.io/pause:" + pauseVersion, "pause", "pause"},
	} {
		_, e, ok := files(t, images[tt.image]).resolve(tt.path)
		if !ok {
			t.Errorf("%s has no %s", tt.image, tt.path)
		} else if got := contentOf(t, e); got != tt.want {
			t.Errorf("%s: %s has %q, want %q", tt.image, tt.path, got, tt.want)
		}
	}
	config, err := images["registry.k8s.io/coredns/coredns:"+coreDNSWanted].ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Config.Entrypoint; !slices.Equal(got, []string{"/usr/local/bin/coredns"}) {
		t.Errorf("entry point of CoreDNS %v: kubeadm gives it arguments only", got)
	}
}

// files is the file system of an image whose layers replace nothing of each other.
func files(t *testing.T, img v1.Image) tree {
	t.Helper()
	all := tree{}
	ls, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range ls {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		doc, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		maps.Copy(all, readBack(t, doc))
	}
	return all
}

func TestAMissingLayerIsAnError(t *testing.T) {
	err := writeArchive(io.Discard, t.TempDir(), "amd64", components(), map[string]tree{"pause": {}})
	if err == nil || !strings.Contains(err.Error(), "kubeall") {
		t.Errorf("error %v, want one that names the layer kubeall", err)
	}
}
