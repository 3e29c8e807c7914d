package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"github.com/rollout-lab/rollout-lab/drivers"
	"github.com/rollout-lab/rollout-lab/drivers/program"
)

const (
	// programPath is where the lab's program is in an image that the driver builds. It is
	// also in PATH there.
	programPath = "/rollout-lab"
	// proberPath is where it is in a container of any other image, for health checks.
	proberPath = "/rollout-lab-probe"
	// repository has the name of a registry in front that is nobody's, so that nothing
	// takes it for an image that could be pulled.
	repository = "localhost/rollout-lab"
)

// builtImage is an image that the driver has loaded for one run.
type builtImage struct {
	name  string
	users int // deployments
}

// source is where the lab's program comes from.
func (d *Driver) source() program.Source {
	return program.Source{Path: d.config.Program, Package: d.config.Source}
}

// binary returns the program for an architecture. It is read or built once, so that all
// deployments of a lab run the same whatever becomes of the file.
func (d *Driver) binary(ctx context.Context, arch string) ([]byte, error) {
	d.building.Lock()
	defer d.building.Unlock()
	if b := d.program[arch]; b != nil {
		return b, nil
	}
	b, err := d.source().Read(ctx, arch)
	if err != nil {
		return nil, err
	}
	d.program[arch] = b
	return b, nil
}

// acquireImage makes sure that the run's image is in the engine and returns its name.
// Deployments of a run that exist at the same time share it; releaseImage undoes it.
func (d *Driver) acquireImage(ctx context.Context, e *engine, labels map[string]string) (string, error) {
	program, err := d.binary(ctx, e.arch)
	if err != nil {
		return "", err
	}
	d.building.Lock() // whoever comes second finds the image loaded
	defer d.building.Unlock()
	run := labels[labelRun]
	d.mu.Lock()
	if i := d.images[run]; i != nil {
		i.users++
		d.mu.Unlock()
		return i.name, nil
	}
	d.mu.Unlock()
	sum := sha256.Sum256(program)
	name := repository + ":" + hex.EncodeToString(sum[:6]) + "-" + strings.ToLower(rand.Text()[:10])
	if err := load(ctx, e, name, program, labels); err != nil {
		return "", fmt.Errorf("load image %s: %w", name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.images[run] = &builtImage{name: name, users: 1}
	return name, nil
}

// releaseImage removes the run's image when nobody uses it any more.
func (d *Driver) releaseImage(ctx context.Context, e *engine, run string) error {
	d.building.Lock()
	defer d.building.Unlock()
	d.mu.Lock()
	i := d.images[run]
	if i.users--; i.users > 0 {
		d.mu.Unlock()
		return nil
	}
	delete(d.images, run)
	d.mu.Unlock()
	return e.persist(ctx, func(ctx context.Context) error { return removeImage(ctx, e, i.name) })
}

func removeImage(ctx context.Context, e *engine, name string) error {
	_, err := e.client.ImageRemove(ctx, name, image.RemoveOptions{PruneChildren: true})
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("remove image %s: %w", name, err)
	}
	return nil
}

// load gives the engine an image that holds nothing but the program.
func load(ctx context.Context, e *engine, name string, program []byte, labels map[string]string) error {
	digest := sha256.New()
	size := &counter{}
	if err := writeLayer(io.MultiWriter(digest, size), program); err != nil {
		return err
	}
	config, err := imageConfig(e.arch, "sha256:"+hex.EncodeToString(digest.Sum(nil)), labels)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := writeImage(w, name, config, size.n, program)
		w.CloseWithError(err)
		written <- err
	}()
	resp, err := e.client.ImageLoad(ctx, r, client.ImageLoadWithQuiet(true))
	if err != nil {
		r.CloseWithError(err)
		<-written
		return err
	}
	defer resp.Body.Close()
	err = readProgress(resp.Body)
	r.Close()
	return errors.Join(err, <-written)
}

// counter counts what is written to it.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// readProgress reads what the engine says of something that takes long, to its end.
func readProgress(r io.Reader) error {
	for dec := json.NewDecoder(r); ; {
		var line struct{ Error string }
		err := dec.Decode(&line)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if line.Error != "" {
			return errors.New(line.Error)
		}
	}
}

// writeLayer writes the only layer of an image.
func writeLayer(w io.Writer, program []byte) error {
	t := tar.NewWriter(w)
	err := errors.Join(
		t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}),
		writeFile(t, strings.TrimPrefix(programPath, "/"), 0o755, program),
	)
	return errors.Join(err, t.Close())
}

func writeFile(t *tar.Writer, name string, mode int64, content []byte) error {
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := t.Write(content)
	return err
}

// imageConfig is the configuration of an image with one layer.
func imageConfig(arch, layer string, labels map[string]string) ([]byte, error) {
	type config struct {
		Env        []string
		Entrypoint []string
		Labels     map[string]string
	}
	type rootfs struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	return json.Marshal(struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
		Config       config `json:"config"`
		RootFS       rootfs `json:"rootfs"`
	}{arch, "linux", config{[]string{"PATH=/"}, []string{programPath}, labels}, rootfs{"layers", []string{layer}}})
}

// writeImage writes an archive as docker load takes it.
func writeImage(w io.Writer, name string, config []byte, layerSize int64, program []byte) error {
	const configName, layerName = "config.json", "layer.tar"
	manifest, err := json.Marshal([]struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{{configName, []string{name}, []string{layerName}}})
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	if err := errors.Join(writeFile(t, "manifest.json", 0o644, manifest), writeFile(t, configName, 0o644, config)); err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: layerName, Mode: 0o644, Size: layerSize}); err != nil {
		return err
	}
	if err := writeLayer(t, program); err != nil {
		return err
	}
	return t.Close()
}

// proberArchive is what is copied into a container of an image that is not the driver's.
func proberArchive(program []byte) (io.Reader, error) {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	err := writeFile(t, strings.TrimPrefix(proberPath, "/"), 0o555, program)
	return &b, errors.Join(err, t.Close())
}

// fetchImage makes sure that the engine has an image that is not the driver's, and returns
// what it says of it.
func fetchImage(ctx context.Context, e *engine, name string) (image.InspectResponse, error) {
	found, err := e.client.ImageInspect(ctx, name)
	if err == nil || !isNotFound(err) {
		return found, err
	}
	if err := pull(ctx, e, name); err != nil {
		return found, &drivers.HintError{
			Err:  fmt.Errorf("image %s is not here and cannot be pulled: %w", name, err),
			Hint: "build it, load it with docker load, or log in to its registry",
		}
	}
	return e.client.ImageInspect(ctx, name)
}
