"""What is done to text before it is split: Unicode form, case, accents."""

import dataclasses
from typing import Literal

from tokenizers import normalizers

UnicodeForm = Literal["nfc", "nfd", "nfkc", "nfkd", "none"]

_FORMS = {
    "nfc": normalizers.NFC,
    "nfd": normalizers.NFD,
    "nfkc": normalizers.NFKC,
    "nfkd": normalizers.NFKD,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextRules:
    """Switches of their own: lower-casing does not imply that accents go.

    Attributes:
      lowercase: lower-case the text.
      strip_accents: drop accents. It takes Korean syllables apart into letters
        and changes Japanese and Hindi words.
      unicode_form: the normal form the text is brought to first. NFC composes
        characters, so that Korean syllables are whole however they were typed.
    """

    lowercase: bool
    strip_accents: bool
    unicode_form: UnicodeForm

    def bert(self) -> normalizers.Normalizer:
        """BERT's: without control characters, ideographs set apart."""
        return self._after_form(
            normalizers.BertNormalizer(
                clean_text=True,
                handle_chinese_chars=True,
                strip_accents=self.strip_accents,
                lowercase=self.lowercase,
            )
        )

    def plain(self) -> normalizers.Normalizer:
        """Nothing but the switches."""
        steps: list[normalizers.Normalizer] = []
        if self.strip_accents:
            steps += [normalizers.NFD(), normalizers.StripAccents()]
        if self.lowercase:
            steps.append(normalizers.Lowercase())
        return self._after_form(*steps)

    def _after_form(self, *steps: normalizers.Normalizer) -> normalizers.Normalizer:
        form = [] if self.unicode_form == "none" else [_FORMS[self.unicode_form]()]
        all_steps = [*form, *steps]
        return all_steps[0] if len(all_steps) == 1 else normalizers.Sequence(all_steps)
