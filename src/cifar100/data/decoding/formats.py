"""Recognise the format of an image file by its content, and refuse what is not on the list of supported formats.

Pillow by itself opens whatever it can. For EPS it starts Ghostscript, which runs the program in the file.
"""

from __future__ import annotations

SUPPORTED = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names. The formats in which people keep pictures, and for which memory can be bounded before decoding.

Not JPEG 2000: OpenJPEG's memory depends on its tiles and components. Not ICO, PSD and ICNS: they hold other files.
"""

CONVERT = "convert it to PNG or JPEG, or leave it out"

_STARTS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II\x2a\x00": "TIFF",
    b"MM\x00\x2a": "TIFF",
    b"II\x2b\x00": "TIFF",
    b"MM\x00\x2b": "TIFF",
    **{b"P%d%c" % (number, space): "PPM" for number in range(1, 7) for space in b" \t\r\n#"},
}

_FOREIGN = {
    b"%!PS": "an EPS or PostScript file",
    b"\xc5\xd0\xd3\xc6": "an EPS file",
    b"%PDF": "a PDF file",
    b"8BPS": "a Photoshop file",
    b"gimp xcf": "a GIMP file",
    b"\x00\x00\x00\x0cjP  ": "a JPEG 2000 file",
    b"\xff\x4f\xff\x51": "a JPEG 2000 file",
    b"\x00\x00\x00\x0cJXL ": "a JPEG XL file",
    b"\xff\x0a": "a JPEG XL file",
    b"\x00\x00\x01\x00": "an ICO file",
    b"\x00\x00\x02\x00": "a TGA or CUR file",
    b"icns": "an ICNS file",
    b"\xd7\xcd\xc6\x9a": "a WMF file",
    b"\x01\x00\x09\x00": "a WMF file",
    b"\x01\x00\x00\x00": "an EMF file",
    b"<svg": "an SVG file",
    b"<?xml": "an XML or SVG file",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a Git LFS pointer, not the image itself",
    b"SIMPLE  =": "a FITS file",
    b"\x89HDF": "an HDF5 file",
    b"\x76\x2f\x31\x01": "an OpenEXR file",
    b"#?RADIANCE": "a Radiance HDR file",
    b"qoif": "a QOI file",
    b"DDS ": "a DDS file",
    b"\x01\xda": "an SGI file",
    b"\x0a\x05\x01": "a PCX file",
    b"Pf": "a floating-point PFM file",
    b"PF": "a floating-point PFM file",
    b"P7": "a PAM file",
    b"FUJIFILMCCD-RAW": "a camera's raw file",
    b"\x93NUMPY": "a NumPy array",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip file",
}

_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"}


class ImageError(ValueError):
    """An image file cannot be read. The text is the reason and the advice; it follows the name of the file."""


def format_of(content: bytes) -> str:
    """Return the format of an image file, one of `SUPPORTED`.

    Raises:
        ImageError: the file has another format; the reason names it if it is known.
    """
    for start, name in _STARTS.items():
        if content.startswith(start):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        return _format_of_boxes(content)
    stripped = content[:100].lstrip(b"\xef\xbb\xbf \t\r\n")  # before XML
    for start, name in _FOREIGN.items():
        if stripped.startswith(start) or content.startswith(start) or stripped.lower().startswith(start):
            raise foreign(name)
    if content[128:132] == b"DICM":
        raise foreign("a DICOM file")
    raise ImageError(f"is damaged or not an image ({len(content):,} bytes); restore it or leave it out")


def foreign(name: str) -> ImageError:
    """Return the error for a file of a known format that is not supported."""
    return ImageError(f"is {name}, expected PNG, JPEG, GIF, BMP, WebP, TIFF, AVIF or PPM; {CONVERT}")


def _format_of_boxes(content: bytes) -> str:
    """Return AVIF, or refuse another file of ISO boxes by its name."""
    brands = content[8 : min(int.from_bytes(content[:4]), 512)]
    names = {brands[at : at + 4] for at in range(0, len(brands), 4) if at != 4}  # the second is a version
    if names & _AVIF_BRANDS:
        return "AVIF"
    if names & _HEIF_BRANDS:
        raise foreign("a HEIC file")
    raise foreign("a camera's raw file" if b"crx " in names else "a video or another file of MP4's family")
