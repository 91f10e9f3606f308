"""Bytes on a disk, whole or absent."""
