package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	containerdSocket = "unix:///run/containerd/containerd.sock"
	crictlTimeout    = 10 * time.Second
)

// crictl answers the two questions that kind asks of the program of that name: which
// images there are, and what one of them is.
func crictl(args []string, out io.Writer) error {
	conn, err := grpc.NewClient(containerdSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to containerd: %w", err)
	}
	defer func() { _ = conn.Close() }() // nothing was written: there is nothing to lose
	ctx, cancel := context.WithTimeout(context.Background(), crictlTimeout)
	defer cancel()
	images := cri.NewImageServiceClient(conn)

	switch {
	case len(args) == 1 && args[0] == "images":
		list, err := images.ListImages(ctx, &cri.ListImagesRequest{})
		if err != nil {
			return fmt.Errorf("list images: %w", err)
		}
		for _, image := range list.GetImages() {
			for _, tag := range image.GetRepoTags() {
				if _, err := fmt.Fprintf(out, "%s\t%s\t%d\n", tag, image.GetId(), image.GetSize()); err != nil {
					return err
				}
			}
		}
		return nil
	case len(args) == 2 && args[0] == "inspecti":
		answer, err := images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: args[1]}})
		if err != nil {
			return fmt.Errorf("inspect image %s: %w", args[1], err)
		}
		image := answer.GetImage()
		if image == nil {
			return fmt.Errorf("no such image %q present", args[1])
		}
		return json.NewEncoder(out).Encode(map[string]any{"status": map[string]any{
			"id":          image.GetId(),
			"repoTags":    image.GetRepoTags(),
			"repoDigests": image.GetRepoDigests(),
			"size":        strconv.FormatUint(image.GetSize(), 10),
		}})
	}
	return errors.New("usage: crictl images | crictl inspecti IMAGE (this is not the whole crictl)")
}
