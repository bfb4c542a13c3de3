module instanced.test/calls

go 1.21
