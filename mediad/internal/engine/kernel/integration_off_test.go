//go:build !integration

package kernel

const integration = false
