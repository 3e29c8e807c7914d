package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rollout-lab/rollout-lab/images/confined"
)

// linkerFlags stamp the version that Kubernetes' programs report. The commit is not in a
// module, and the date would make every build differ.
func linkerFlags() []string {
	major, rest, _ := strings.Cut(strings.TrimPrefix(KubernetesVersion, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	flags := []string{"-s", "-w"}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, v := range [][2]string{
			{"gitVersion", KubernetesVersion}, {"gitMajor", major}, {"gitMinor", minor},
			{"gitTreeState", "clean"}, {"gitCommit", "unknown"}, {"buildDate", "1970-01-01T00:00:00Z"},
		} {
			flags = append(flags, "-X", pkg+"."+v[0]+"="+v[1])
		}
	}
	return flags
}

// makePrograms compiles the module kubeall into the directory to.
func (b *builder) makePrograms(ctx context.Context, to string) error {
	if _, err := exec.LookPath("go"); err != nil {
		return hint(err, "install Go 1.24 or later, which fetches the version it needs; "+carry)
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	cmd := confined.Command(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags="+strings.Join(linkerFlags(), " "),
		"-o", to+string(filepath.Separator), ".", "./nodeinit", "./pause")
	cmd.Dir = b.source
	// The caller's flags are for another module, and would change what is built.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+b.goarch, "GOAMD64=v1", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=")
	if err := confined.Run(cmd); err != nil {
		return hint(fmt.Errorf("build %s: %w", b.source, err), "modules come from GOPROXY: without a network, name a proxy within reach; "+carry)
	}
	bin, err := openBinaries(to)
	if err != nil {
		return err
	}
	defer bin.close()
	return bin.checkStatic()
}

// binaries are the compiled programs, as files that stay open until close.
type binaries struct {
	kubeall, nodeinit, pause *io.SectionReader
	files                    []*os.File
}

func openBinaries(dir string) (binaries, error) {
	var b binaries
	for name, content := range map[string]**io.SectionReader{"kubeall": &b.kubeall, "nodeinit": &b.nodeinit, "pause": &b.pause} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			b.close()
			return binaries{}, err
		}
		b.files = append(b.files, f)
		info, err := f.Stat()
		if err != nil {
			b.close()
			return binaries{}, err
		}
		*content = io.NewSectionReader(f, 0, info.Size())
	}
	return b, nil
}

func (b binaries) close() {
	for _, f := range b.files {
		_ = f.Close() // they were only read
	}
}

// checkStatic makes sure that the programs run in images that have no libraries.
func (b binaries) checkStatic() error {
	for name, content := range map[string]*io.SectionReader{"kubeall": b.kubeall, "nodeinit": b.nodeinit, "pause": b.pause} {
		loader, libs, err := dynamic(content)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if loader != "" || len(libs) > 0 {
			return errors.New(name + " is not a static program")
		}
	}
	return nil
}
