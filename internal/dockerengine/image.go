package dockerengine

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/cpuguy83/dockercfg"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// HasImage says whether the engine has an image.
func (e *Engine) HasImage(ctx context.Context, name string) (bool, error) {
	_, err := e.ImageInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("image %s: %w", name, err)
	}
	return true, nil
}

// Pull gets an image from its registry, with the credentials that the docker command has
// for it. It tries once.
func (e *Engine) Pull(ctx context.Context, ref string) error {
	var options image.PullOptions
	auth, noAuth := credentials(ref)
	if noAuth == nil {
		var err error
		if options.RegistryAuth, err = registry.EncodeAuthConfig(auth); err != nil {
			return err
		}
	}
	// Most images need no credentials, so that it matters only now whether there are any.
	answer, err := e.ImagePull(ctx, ref, options)
	if err != nil {
		return errors.Join(err, noAuth)
	}
	defer answer.Close()
	return readProgress(answer, nil)
}

// credentials are what the docker command has been given for an image's registry.
func credentials(image string) (registry.AuthConfig, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return registry.AuthConfig{}, err
	}
	host := dockercfg.ResolveRegistryHost(ref.Context().RegistryStr())
	user, secret, err := dockercfg.GetRegistryCredentials(host)
	if err != nil {
		return registry.AuthConfig{}, fmt.Errorf("credentials for %s: %w", host, err)
	}
	if user == "" {
		return registry.AuthConfig{IdentityToken: secret, ServerAddress: host}, nil
	}
	return registry.AuthConfig{Username: user, Password: secret, ServerAddress: host}, nil
}

// RemoveImage removes an image, and what it alone was made from. One that is gone already
// is no error.
func (e *Engine) RemoveImage(ctx context.Context, name string) error {
	_, err := e.ImageRemove(ctx, name, image.RemoveOptions{PruneChildren: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove image %s: %w", name, err)
	}
	return nil
}

// Load gives the engine an image by this name.
func (e *Engine) Load(ctx context.Context, tag string, img v1.Image) error {
	return streaming(func(w io.Writer) error { return WriteArchive(w, tag, img) }, func(r io.Reader) error {
		answer, err := e.ImageLoad(ctx, r, client.ImageLoadWithQuiet(true))
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		return readProgress(answer.Body, nil)
	})
}

// WriteArchive writes an image as docker load takes it.
func WriteArchive(w io.Writer, tag string, img v1.Image) error {
	ref, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	return tarball.Write(ref, img, w)
}

// Import makes an image of what write writes, which is the tar of a file system, and
// returns its ID. tag may be ""; changes are instructions of a Dockerfile.
func (e *Engine) Import(ctx context.Context, tag string, changes []string, write func(io.Writer) error) (string, error) {
	var id string
	err := streaming(write, func(r io.Reader) error {
		answer, err := e.ImageImport(ctx, image.ImportSource{Source: r, SourceName: "-"}, tag, image.ImportOptions{Changes: changes})
		if err != nil {
			return err
		}
		defer answer.Close()
		id, err = importedID(answer)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("import a file system: %w", err)
	}
	return id, nil
}

// importedID reads the engine's account of an import, whose last status is the ID.
func importedID(answer io.Reader) (string, error) {
	var id string
	err := readProgress(answer, func(status string) {
		if strings.HasPrefix(status, "sha256:") {
			id = status
		}
	})
	if err == nil && id == "" {
		err = errors.New("the engine named no image")
	}
	if err != nil {
		return "", err
	}
	return id, nil
}

// Build builds an image from a Dockerfile that needs no other file, on the network of the
// engine's machine: packages come from where that gets its own.
func (e *Engine) Build(ctx context.Context, tag, dockerfile string) error {
	files, err := Tar(File{Name: "Dockerfile", Mode: 0o644, Content: []byte(dockerfile)})
	if err != nil {
		return err
	}
	built, err := e.ImageBuild(ctx, bytes.NewReader(files), build.ImageBuildOptions{
		Tags: []string{tag}, Remove: true, ForceRemove: true, NetworkMode: "host",
	})
	if err != nil {
		return err
	}
	defer built.Body.Close()
	return readProgress(built.Body, nil)
}

// streaming has one function read what the other writes, and returns when both have. That
// the reader had enough is no error of the writer's.
func streaming(write func(io.Writer) error, read func(io.Reader) error) error {
	r, w := io.Pipe()
	enough := errors.New("nobody reads any more")
	written := make(chan error, 1)
	go func() {
		err := write(w)
		w.CloseWithError(err)
		written <- err
	}()
	err := read(r)
	r.CloseWithError(enough) // lets the writer go
	writeErr := <-written
	if errors.Is(writeErr, enough) {
		writeErr = nil
	}
	if err == nil || writeErr != nil && errors.Is(err, writeErr) {
		return writeErr
	}
	return err
}

// readProgress reads what the engine says of something that takes long, to its end, and
// returns what it complains of. each, unless nil, is given every status.
func readProgress(r io.Reader, each func(status string)) error {
	for messages := json.NewDecoder(r); ; {
		var m struct{ Status, Error string }
		err := messages.Decode(&m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if m.Error != "" {
			return errors.New(m.Error)
		}
		if each != nil {
			each(m.Status)
		}
	}
}

// Program is an image of nothing but a static program, which it runs, and a folder for
// temporary files. The same program makes the same image.
type Program struct {
	Content []byte
	Path    string // of the program in the image; its folder is in PATH
	Arch    string
	Labels  map[string]string
}

// Image makes the image.
func (p Program) Image() (v1.Image, error) {
	inside := strings.TrimPrefix(p.Path, "/")
	files, err := Tar(File{Name: "tmp/", Mode: 0o1777}, File{Name: inside, Mode: 0o755, Content: p.Content})
	if err != nil {
		return nil, err
	}
	// Not compressed: it goes to an engine on this machine.
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(files, types.DockerUncompressedLayer))
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", p.Arch
	config.Config = v1.Config{Env: []string{"PATH=/"}, Entrypoint: []string{p.Path}, Labels: p.Labels}
	return mutate.ConfigFile(img, config)
}

// File is a file of root's; one whose name ends in a slash is a folder.
type File struct {
	Name    string
	Mode    int64
	Content []byte
}

// Tar packs files for the engine.
func Tar(files ...File) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Mode: f.Mode, Size: int64(len(f.Content))}
		if strings.HasSuffix(f.Name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.Content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
