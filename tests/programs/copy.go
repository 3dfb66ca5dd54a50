// Copies a file, by the Go runtime's own system calls, in several threads: copy IN OUT.
package main

import (
	"os"
	"runtime"
	"sync"
)

func main() {
	if len(os.Args) != 3 {
		os.Exit(2)
	}
	var content []byte
	var read sync.WaitGroup
	read.Add(1)
	go func() {
		defer read.Done()
		runtime.LockOSThread()
		var err error
		if content, err = os.ReadFile(os.Args[1]); err != nil {
			panic(err)
		}
	}()
	read.Wait()
	if err := os.WriteFile(os.Args[2], content, 0o666); err != nil {
		panic(err)
	}
}
