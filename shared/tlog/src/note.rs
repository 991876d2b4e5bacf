//! Signed notes: a text and signature lines (c2sp.org/signed-note).
//!
//! ```text
//! <text, ending in a newline>\n
//! — <key name> <base64 of 4-byte key id and signature>\n
//! ```
//! Flow: [`parse_note`] the bytes, [`Note::verify`] against known keys, only then believe the text.
//! Signatures of unknown keys are kept and ignored; a bad signature of a known key refuses all.
//!
//! Bounds: [`MAX_NOTE_BYTES`] and [`MAX_NOTE_SIGNATURES`].

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::key::{Signer, SigningError, Verifier, is_key_name};

/// Largest note that is read.
pub const MAX_NOTE_BYTES: usize = 64 * 1024;
/// Most signature lines that a note may carry.
pub const MAX_NOTE_SIGNATURES: usize = 64;

const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// Why bytes aren't a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseNoteError {
    /// Larger than [`MAX_NOTE_BYTES`].
    #[error("the note is larger than {MAX_NOTE_BYTES} bytes")]
    TooLarge,
    /// Not UTF-8, or a control character other than newline.
    #[error("the note isn't plain UTF-8 text")]
    NotText,
    /// No blank line before signature lines, or an empty text.
    #[error("the note has no text, blank line and signatures")]
    NoSignatures,
    /// A line after the last blank line isn't a signature.
    #[error("a signature line is malformed")]
    BadSignatureLine,
    /// More than [`MAX_NOTE_SIGNATURES`] signature lines.
    #[error("the note has more than {MAX_NOTE_SIGNATURES} signatures")]
    TooManySignatures,
}

/// Why a note can't be made or extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The text is empty, unterminated or holds a control character other than newline.
    #[error("a note text ends in a newline and has no other control character")]
    BadText,
    /// The note would be larger than [`MAX_NOTE_BYTES`].
    #[error("the note would be larger than {MAX_NOTE_BYTES} bytes")]
    TooLarge,
    /// No signer was given.
    #[error("a note needs a signature")]
    NoSigner,
    /// The note would carry more than [`MAX_NOTE_SIGNATURES`] signatures.
    #[error("the note would have more than {MAX_NOTE_SIGNATURES} signatures")]
    TooManySignatures,
    /// Signing failed.
    #[error(transparent)]
    Signing(#[from] SigningError),
}

/// Why a note isn't to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyNoteError {
    /// A known key's signature doesn't fit the text.
    #[error("the signature of {name} is invalid")]
    BadSignature {
        /// Name of the key.
        name: String,
    },
    /// No signature of a known key.
    #[error("no known key has signed this note")]
    NoKnownSignature,
}

/// One signature line: who claims to have signed, and the bytes. Not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl NoteSignature {
    pub(crate) fn new(name: &str, id: [u8; 4], bytes: &[u8]) -> Self {
        Self { name: name.to_owned(), id, bytes: bytes.to_vec() }
    }

    /// Reads one signature line, without its newline.
    ///
    /// # Errors
    /// [`ParseNoteError::BadSignatureLine`].
    pub fn parse(line: &str) -> Result<Self, ParseNoteError> {
        Self::parse_line(line).ok_or(ParseNoteError::BadSignatureLine)
    }

    fn parse_line(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
        if !is_key_name(name) {
            return None;
        }
        let decoded = STANDARD.decode(encoded).ok()?;
        let (id, bytes) = decoded.split_first_chunk::<4>()?;
        if bytes.is_empty() {
            return None;
        }
        Some(Self::new(name, *id, bytes))
    }

    /// Name of the key that is claimed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of the key that is claimed.
    #[must_use]
    pub const fn id(&self) -> [u8; 4] {
        self.id
    }

    fn is_of(&self, verifier: &Verifier) -> bool {
        self.name == verifier.name() && self.id == verifier.id()
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.id.to_vec();
        bytes.extend_from_slice(&self.bytes);
        write!(f, "{SIGNATURE_PREFIX}{} {}", self.name, STANDARD.encode(bytes))
    }
}

/// A signature that was checked against a known key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedSignature<'a> {
    /// The key that signed.
    pub verifier: &'a Verifier,
    /// Unix seconds that a witness states; `None` for a plain signature.
    pub time: Option<u64>,
}

/// A text with signature lines. The text is to be believed only after [`Note::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// The signed text, final newline included.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signature lines, verified or not.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature line, such as a witness's. An equal line isn't added twice.
    ///
    /// # Errors
    /// [`NoteError::TooManySignatures`] or [`NoteError::TooLarge`]; the note is then unchanged.
    pub fn add_signature(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        if self.signatures.contains(&signature) {
            return Ok(());
        }
        if self.signatures.len() >= MAX_NOTE_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        self.signatures.push(signature);
        if self.to_string().len() > MAX_NOTE_BYTES {
            self.signatures.pop();
            return Err(NoteError::TooLarge);
        }
        Ok(())
    }

    /// Checks every signature of the known keys. Returns those that hold, one per key.
    ///
    /// # Errors
    /// [`VerifyNoteError::BadSignature`] if a known key's signature is wrong (the whole note is
    /// then refused), [`VerifyNoteError::NoKnownSignature`] if no known key has signed.
    pub fn verify<'a>(
        &self,
        known: &'a [Verifier],
    ) -> Result<Vec<VerifiedSignature<'a>>, VerifyNoteError> {
        let mut verified: Vec<VerifiedSignature<'a>> = Vec::new();
        for signature in &self.signatures {
            let Some(verifier) = known.iter().find(|key| signature.is_of(key)) else {
                continue;
            };
            let Some(time) = verifier.check(&self.text, &signature.bytes) else {
                return Err(VerifyNoteError::BadSignature { name: verifier.name().to_owned() });
            };
            // A witness may have signed twice: its latest word counts.
            match verified.iter_mut().find(|done| done.verifier == verifier) {
                Some(done) => done.time = done.time.max(time),
                None => verified.push(VerifiedSignature { verifier, time }),
            }
        }
        if verified.is_empty() {
            return Err(VerifyNoteError::NoKnownSignature);
        }
        Ok(verified)
    }

    /// Checks the signature of one key. Returns the time that it states, if it is a witness.
    ///
    /// # Errors
    /// As [`Note::verify`] with this one key.
    pub fn verify_by(&self, known: &Verifier) -> Result<Option<u64>, VerifyNoteError> {
        let verified = self.verify(std::slice::from_ref(known))?;
        Ok(verified.first().and_then(|signature| signature.time))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

/// Signs a text with one or more log keys.
///
/// # Errors
/// [`NoteError`] if the text can't be a note, no signer is given, or signing fails.
pub fn sign_note(text: &str, signers: &[&Signer]) -> Result<Note, NoteError> {
    if !is_note_text(text) || text == "\n" {
        return Err(NoteError::BadText);
    }
    if signers.is_empty() {
        return Err(NoteError::NoSigner);
    }
    if text.len() > MAX_NOTE_BYTES {
        return Err(NoteError::TooLarge);
    }
    let mut note = Note { text: text.to_owned(), signatures: Vec::new() };
    for signer in signers {
        note.add_signature(signer.sign(text)?)?;
    }
    Ok(note)
}

/// Reads a note. Nothing is verified yet.
///
/// # Errors
/// [`ParseNoteError`] naming the first thing that is wrong.
pub fn parse_note(bytes: &[u8]) -> Result<Note, ParseNoteError> {
    if bytes.len() > MAX_NOTE_BYTES {
        return Err(ParseNoteError::TooLarge);
    }
    let note = std::str::from_utf8(bytes).map_err(|_| ParseNoteError::NotText)?;
    if note.bytes().any(is_forbidden) {
        return Err(ParseNoteError::NotText);
    }
    // Base64 and names hold no newline: the last blank line is the separator.
    let (text, lines) = note.rsplit_once("\n\n").ok_or(ParseNoteError::NoSignatures)?;
    let lines = lines.strip_suffix('\n').ok_or(ParseNoteError::NoSignatures)?;
    if text.is_empty() {
        return Err(ParseNoteError::NoSignatures);
    }
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        if signatures.len() >= MAX_NOTE_SIGNATURES {
            return Err(ParseNoteError::TooManySignatures);
        }
        signatures.push(NoteSignature::parse(line)?);
    }
    Ok(Note { text: format!("{text}\n"), signatures })
}

const fn is_forbidden(byte: u8) -> bool {
    byte < 0x20 && byte != b'\n'
}

fn is_note_text(text: &str) -> bool {
    text.ends_with('\n') && !text.bytes().any(is_forbidden)
}
