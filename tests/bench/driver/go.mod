module driver

go 1.26.0
