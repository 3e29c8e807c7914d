package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/rollout-lab/rollout-lab/drivers"
)

// foreignImage loads an image that the driver knows nothing of: the target at fixed ports,
// under another name, with a volume and a health check of its own.
func foreignImage(t testing.TB) string {
	t.Helper()
	requireEngine(t)
	p, err := targetProgram()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := w.WriteHeader(&tar.Header{Name: "server", Mode: 0o755, Size: int64(len(binary))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(binary); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil }, tarball.WithCompressionLevel(0))
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	check, err := json.Marshal(map[string]any{"addr": "127.0.0.1:9001", "probe": drivers.Probe{Kind: drivers.ProbeHTTP, Path: "/ready"}})
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file.OS, file.Architecture = "linux", architecture(t)
	file.Config = v1.Config{
		Entrypoint: []string{"/server"}, Volumes: map[string]struct{}{"/data": {}}, StopSignal: "SIGTERM",
		Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "/server", probeMark, string(check)}, Interval: 200 * time.Millisecond, Timeout: time.Second, Retries: 2},
	}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("localhost/driver-test:" + strings.ToLower(rand.Text()[:12]))
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := tarball.Write(tag, img, &archive); err != nil {
		t.Fatal(err)
	}
	c := engineClient(t)
	resp, err := c.ImageLoad(t.Context(), &archive)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if out, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(out), tag.String()) {
		t.Fatalf("load: %s, %v", out, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := c.ImageRemove(ctx, tag.String(), image.RemoveOptions{}); err != nil {
			t.Error(err)
		}
	})
	return tag.String()
}

func architecture(t testing.TB) string {
	t.Helper()
	v, err := engineClient(t).ServerVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v.Arch
}

// TestForeignImage: an image that the driver did not build runs as it is, at the ports at
// which it listens whatever it is told; its health is asked by the lab's program, which it
// does not hold, or by its own check; its limits are those of the stack; what it makes is
// removed, and it is not.
func TestForeignImage(t *testing.T) {
	name := foreignImage(t)
	for kind, signal := range map[string]drivers.Probe{
		"http":  {Kind: drivers.ProbeHTTP, Port: "health", Path: "/ready", Interval: 200 * time.Millisecond, Fall: 2},
		"tcp":   {Kind: drivers.ProbeTCP, Port: "health", Interval: 200 * time.Millisecond},
		"image": {Kind: drivers.ProbeImage},
	} {
		t.Run(kind, func(t *testing.T) {
			b := deploy(t, func(s *drivers.Stack) {
				s.Subject.Image, s.Subject.Fixed, s.Replicas = name, map[string]int{"data": 9000, "health": 9001}, 1
				s.Subject.Args = []string{"-data", "0.0.0.0:9000", "-health", "0.0.0.0:9001", "-instance", "${instance}", "-revision", "${revision}"}
				s.Subject.Signal = signal
				s.Subject.Limits = drivers.Limits{CPUs: 0.5, Memory: 64 << 20}
			})
			env := b.Env
			if answer := get(t, env.URL()); !strings.HasPrefix(answer, "target-1 v1 ") {
				t.Errorf("answer %q", answer)
			}
			c := engineClient(t)
			found, err := c.ContainerInspect(t.Context(), containerOf(t, env, "target-1"))
			if err != nil {
				t.Fatal(err)
			}
			if r := found.HostConfig.Resources; r.NanoCPUs != 500_000_000 || r.Memory != 64<<20 || r.MemorySwap != 64<<20 {
				t.Errorf("limits of %d ns/s, %d bytes, %d with swap; want 500000000, %d, the same", r.NanoCPUs, r.Memory, r.MemorySwap, 64<<20)
			}
			for port, bindings := range found.HostConfig.PortBindings {
				for _, b := range bindings {
					if b.HostIP != "127.0.0.1" {
						t.Errorf("port %s is published on %q", port, b.HostIP)
					}
				}
			}
			if found.HostConfig.Privileged || len(found.HostConfig.CapAdd) > 0 {
				t.Errorf("privileged: %t, capabilities %v", found.HostConfig.Privileged, found.HostConfig.CapAdd)
			}
			if signal.Kind == drivers.ProbeHTTP {
				b.Set(b.Instances()[0], "ready", false)
				b.AwaitEvent(drivers.Unready, "target-1", "")
			}
			if len(found.Mounts) != 1 {
				t.Fatalf("mounts %+v, want the image's volume", found.Mounts)
			}
			if err := env.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if v, err := c.VolumeInspect(t.Context(), found.Mounts[0].Name); err == nil {
				t.Errorf("volume %s is left", v.Name)
			}
			if _, err := c.ImageInspect(t.Context(), name); err != nil {
				t.Errorf("the image that was brought along: %v", err)
			}
		})
	}
}

// TestImageMissing: one that is not here and that no registry has is an error with a hint.
func TestImageMissing(t *testing.T) {
	d := newDriver(t)
	const name = "localhost:1/rollout-lab-nothing:none"
	stack := stackOf(name)
	_, err := d.Deploy(t.Context(), stack)
	var hint *drivers.HintError
	if !errors.As(err, &hint) || !strings.Contains(err.Error(), name) {
		t.Errorf("got %v, want an error with a hint that names %s", err, name)
	}
	nothingLeft(t, stack.RunID)
}

func stackOf(image string) drivers.Stack {
	return drivers.Stack{
		RunID: "image-" + strings.ToLower(rand.Text()[:12]), Name: "image", Replicas: 1, Revision: "v1",
		Rolling: drivers.Rolling{MaxSurge: 1},
		Subject: drivers.Service{Name: "target", Image: image, Ports: []string{"data"}, StopGrace: time.Second},
	}
}
