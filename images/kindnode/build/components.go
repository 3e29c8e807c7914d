package build

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/rollout-lab/rollout-lab/images/debian"
)

// nameAnnotation is where containerd's import finds the name of an image in an archive.
const nameAnnotation = "io.containerd.image.name"

const registry = "registry.k8s.io/"

// component is an image of the archive.
type component struct {
	names  []string
	layers []string // by the keys of the layers
	config v1.Config
}

// components are the images that a cluster runs of itself. Those of one program share
// its layer: in the archive, in the node image and in the node's memory.
func components() []component {
	env := []string{searchPath}
	kube := func(names ...string) component {
		return component{names: names, layers: []string{"kubeall"}, config: v1.Config{Env: env}}
	}
	filtering := func(name string) component {
		return component{names: []string{name}, layers: []string{"kubeall", "filters"}, config: v1.Config{Env: env}}
	}
	dns := kube(registry+"coredns/coredns:"+coreDNSVersion, registry+"coredns/coredns:"+coreDNSWanted)
	dns.config.Entrypoint = []string{"/usr/local/bin/coredns"}
	return []component{
		kube(registry + "kube-apiserver:" + KubernetesVersion),
		kube(registry + "kube-controller-manager:" + KubernetesVersion),
		kube(registry + "kube-scheduler:" + KubernetesVersion),
		kube(registry + "etcd:" + etcdVersion + "-0"),
		dns,
		filtering(registry + "kube-proxy:" + KubernetesVersion),
		filtering("localhost/podnet:v1"),
		{
			names:  []string{registry + "pause:" + pauseVersion},
			layers: []string{"pause"},
			config: v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"},
		},
	}
}

// componentLayers are the file systems that components are put together from.
func componentLayers(bin binaries, filters tree) map[string]tree {
	kubeall := tree{}
	kubeall.dir("tmp", 0o1777)
	kubeall.file("etc/passwd", 0o644, text("root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"))
	kubeall.file("etc/group", 0o644, text("root:x:0:\nnogroup:x:65534:\n"))
	kubeall.file("etc/nsswitch.conf", 0o644, text("hosts: files dns\n"))
	kubeall.file("usr/local/bin/kubeall", 0o755, bin.kubeall)
	for _, name := range componentPrograms {
		kubeall.link("usr/local/bin/"+name, "kubeall")
	}
	pause := tree{}
	pause.file("pause", 0o755, bin.pause)
	return map[string]tree{"kubeall": kubeall, "filters": filters, "pause": pause}
}

// writeArchive writes the images as one OCI archive to w. Their layers are in it once, and
// uncompressed: unpacking is on the way to every new cluster. dir is for files that may go
// when it returns.
func writeArchive(w io.Writer, dir, goarch string, images []component, trees map[string]tree) error {
	layers := map[string]v1.Layer{}
	for key, t := range trees {
		l, err := newLayer(filepath.Join(dir, key+".tar"), t)
		if err != nil {
			return fmt.Errorf("layer %s: %w", key, err)
		}
		layers[key] = l
	}
	var index v1.ImageIndex = empty.Index
	for _, c := range images {
		img, err := c.image(goarch, layers)
		if err != nil {
			return fmt.Errorf("image %s: %w", c.names[0], err)
		}
		for _, name := range c.names {
			index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
				Annotations: map[string]string{nameAnnotation: name},
				Platform:    &v1.Platform{OS: "linux", Architecture: goarch},
			}})
		}
	}
	out := filepath.Join(dir, "oci")
	if _, err := layout.Write(out, index); err != nil {
		return fmt.Errorf("write the images: %w", err)
	}
	return debian.Pack(w, out, func(string) bool { return true })
}

func (c component) image(goarch string, layers map[string]v1.Layer) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	created := v1.Time{Time: time.Unix(debian.Epoch, 0).UTC()}
	for _, key := range c.layers {
		l, ok := layers[key]
		if !ok {
			return nil, fmt.Errorf("no layer %q", key)
		}
		var err error
		img, err = mutate.Append(img, mutate.Addendum{Layer: l, History: v1.History{Created: created, CreatedBy: "rollout-lab kindnode: " + key}})
		if err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created, file.Config = "linux", goarch, created, c.config
	return mutate.ConfigFile(img, file)
}

// layer is an uncompressed layer in a file.
type layer struct {
	path string
	hash v1.Hash
	size int64
}

func newLayer(path string, t tree) (*layer, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	err = t.write(io.MultiWriter(f, sum))
	size, serr := f.Seek(0, io.SeekCurrent)
	if err := errors.Join(err, serr, f.Close()); err != nil {
		return nil, err
	}
	return &layer{path: path, size: size, hash: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}}, nil
}

func (l *layer) Digest() (v1.Hash, error)             { return l.hash, nil }
func (l *layer) DiffID() (v1.Hash, error)             { return l.hash, nil }
func (l *layer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l *layer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }
func (l *layer) Size() (int64, error)                 { return l.size, nil }
func (l *layer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
