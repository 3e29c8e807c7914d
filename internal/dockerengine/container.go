package dockerengine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// RemoveContainer removes a container without grace, with its volumes. One that is gone
// already is no error.
func (e *Engine) RemoveContainer(ctx context.Context, id string) error {
	err := e.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	return nil
}

// LastLines is the end of what a container has written, both ways together.
func (e *Engine) LastLines(ctx context.Context, id string, lines int) (string, error) {
	found, err := e.ContainerInspect(ctx, id)
	if err != nil {
		return "", err
	}
	r, err := e.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(lines)})
	if err != nil {
		return "", err
	}
	defer r.Close()
	var out bytes.Buffer
	if found.Config != nil && found.Config.Tty { // a terminal has one stream
		_, err = io.Copy(&out, r)
	} else {
		_, err = stdcopy.StdCopy(&out, &out, r)
	}
	if err != nil {
		return "", err
	}
	return strings.ToValidUTF8(out.String(), ""), nil
}

// Exec runs a command in a container and returns what it wrote to its standard output.
// input may be nil. A command that fails keeps what it has said in the error.
func (e *Engine) Exec(ctx context.Context, id string, input io.Reader, argv ...string) (string, error) {
	out, err := e.exec(ctx, id, input, argv)
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return out, nil
}

func (e *Engine) exec(ctx context.Context, id string, input io.Reader, argv []string) (string, error) {
	made, err := e.ContainerExecCreate(ctx, id, container.ExecOptions{
		Cmd: argv, AttachStdin: input != nil, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return "", err
	}
	conn, err := e.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, conn.Close) // reading does not listen to ctx
	defer stop()
	sent := make(chan error, 1)
	go func() {
		if input == nil {
			sent <- nil
			return
		}
		_, err := io.Copy(conn.Conn, input)
		sent <- errors.Join(err, conn.CloseWrite())
	}()
	var out, said bytes.Buffer
	_, readErr := stdcopy.StdCopy(&out, &said, conn.Reader)
	conn.Close() // ends the sender, if the command has ended without reading everything
	sendErr := <-sent
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if readErr != nil {
		return "", fmt.Errorf("read its output: %w", readErr)
	}
	ended, err := e.ContainerExecInspect(ctx, made.ID)
	if err != nil {
		return "", err
	}
	if ended.Running || ended.ExitCode != 0 {
		return "", fmt.Errorf("exit status %d: %s", ended.ExitCode, lastLines(said.String()+out.String()))
	}
	if sendErr != nil {
		return "", fmt.Errorf("write its input: %w", sendErr)
	}
	return out.String(), nil
}

// lastLines is the end of what a failed command has said.
func lastLines(text string) string {
	const most = 20
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}
